// What an app has its pushes say.

/** What pushes say in one language, with `{sender}`, `{text}` and `{count}` in it. */
export interface PushTemplate {
  title?: string;
  body?: string;
  /** Instead of the body, where what the message says is not to be shown. */
  hidden?: string;
}

/** By language tag, such as `de` or `pt-BR`; `default` for all others. */
export type PushTemplates = Readonly<Record<string, PushTemplate>>;
