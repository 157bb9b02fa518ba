// Says what a statement ran into: the one place that reads SQLSTATE and constraint names.

/** The name of the unique constraint that a thrown error says was violated (SQLSTATE 23505). */
export function violatedUnique(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown) || thrown.code !== '23505') return undefined;
  return 'constraint' in thrown ? String(thrown.constraint) : undefined;
}

/** Whether a thrown error says that a lock wasn't to be had in time (SQLSTATE 55P03). */
export function isLockTimeout(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === '55P03';
}

/** Whether a thrown error says that the row referred to is gone (SQLSTATE 23503), or the app (23502). */
export function isDanglingReference(thrown: unknown): boolean {
  if (!(thrown instanceof Error) || !('code' in thrown)) return false;
  return (
    thrown.code === '23503' || (thrown.code === '23502' && 'column' in thrown && thrown.column === 'app_id')
  );
}
