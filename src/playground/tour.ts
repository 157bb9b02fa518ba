// The tour: what there is to see in a minute, one sentence and one button for each step. A step that fails can be tried again.

import { find, findA, setText } from './elements.ts';

export interface Step {
  title: string;
  text: string;
  button: string;
  /** Where it is to be seen. */
  look: string;
  act: () => Promise<void> | void;
}

const END = {
  title: 'That is all of it',
  text: 'Everything here is live: write, log in as somebody else, rename Bob, or register somebody new.',
  button: 'Close the tour',
};

export function startTour(steps: readonly Step[]): void {
  const button = findA(HTMLButtonElement, '#tour-do');
  const fault = find('#tour-fault');
  const progress = findA(HTMLProgressElement, '#tour-progress');
  progress.max = steps.length;
  let at = 0;

  function show(): void {
    const { title, text, button: label } = steps[at] ?? END;
    setText(find('#tour-count'), at < steps.length ? `${at + 1} of ${steps.length}` : 'Done');
    setText(find('#tour-title'), title);
    setText(find('#tour-text'), text);
    setText(button, label);
    progress.value = at;
  }

  async function act(step: Step): Promise<void> {
    fault.textContent = '';
    button.disabled = true;
    try {
      await step.act();
      at += 1;
      show();
      bringIntoView(find(step.look));
    } catch (error) {
      fault.textContent = (error as Error).message;
    }
    button.disabled = false;
    button.focus({ preventScroll: true });
  }

  function close(): void {
    find('.tour').hidden = true;
    find('#talk').focus();
  }

  button.addEventListener('click', () => {
    const step = steps[at];
    if (step) void act(step);
    else close();
  });
  show();
}

/** Where all is on one screen, nothing moves. */
function bringIntoView(element: HTMLElement): void {
  const { top } = element.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) element.scrollIntoView({ block: 'start', behavior: 'smooth' });
}
