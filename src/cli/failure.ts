// Why a command failed, and the exit code that says so to scripts.

export const exitCodes = {
  /** All went well but for lines that the service refused. */
  lines: 1,
  /** The command can't be run as it was given. */
  usage: 2,
  /** The service can't be reached, refuses, or went away. */
  service: 3,
} as const;

/** Told to the operator as it is. */
export class Failure extends Error {
  readonly exitCode: number;

  constructor(kind: keyof typeof exitCodes, message: string) {
    super(message);
    this.name = 'Failure';
    this.exitCode = exitCodes[kind];
  }
}

export const EXIT_CODES_HELP = `
Exit codes:
  0  all is done
  1  all is done but for lines that were refused
  2  wrong usage
  3  the service can't be reached, refused, or went away: run it again, what is done stays done`;
