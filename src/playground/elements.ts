// Finding, making and filling elements of the page, and what its forms do. Texts are only ever set as text, so that nothing anybody writes is markup.

/** Throws where the page has none. */
export const find = (selector: string, within: ParentNode = document): HTMLElement =>
  findA(HTMLElement, selector, within);

export function findA<Kind extends Element>(
  kind: new () => Kind,
  selector: string,
  within: ParentNode = document,
): Kind {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} ${selector}`);
  return found;
}

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** What a form's field holds, without the white space around it. */
export const valueOf = (form: HTMLFormElement, field: string): string =>
  (form.elements.namedItem(field) as HTMLInputElement).value.trim();

/**
 * Makes the children of a list those of the items, in their order. What is there already stays the same element, so that
 * focus stays and screen readers say only what is new.
 */
export function fill<Item>(
  list: Element,
  items: readonly Item[],
  { key, make: create, show }: Row<Item>,
): void {
  const before = new Map([...list.children].map((child) => [(child as HTMLElement).dataset['key'], child]));
  items.forEach((item, i) => {
    const id = key(item);
    const child = (before.get(id) as HTMLElement | undefined) ?? create(item);
    before.delete(id);
    child.dataset['key'] = id;
    show(child, item);
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  for (const child of before.values()) child.remove();
}

interface Row<Item> {
  key: (item: Item) => string;
  make: (item: Item) => HTMLElement;
  show: (element: HTMLElement, item: Item) => void;
}

/** Sets a text only where it is another one. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Does it, and says at `fault` what went wrong. */
export function attempt(fault: string, act: () => Promise<void>): void {
  setText(find(fault), '');
  act().catch((error: unknown) => setText(find(fault), (error as Error).message));
}

/** What a form does instead of being sent. */
export function onSubmit(
  selector: string,
  fault: string,
  act: (form: HTMLFormElement) => Promise<void>,
): void {
  const form = findA(HTMLFormElement, selector);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    attempt(fault, () => act(form));
  });
}
