// What the modules of the chat's pages share: how they find a part of the page, and what they say.

export const $ = (selector, root = document) => root.querySelector(selector);
export const composerText = () => $("#composer-text");
// What the script says comes from the page, in its language.
export const words = () => $("#words").dataset;
// Where a keyboard is at hand: elsewhere a field that gets the focus would raise one.
export const hasKeyboard = () => matchMedia("(hover: hover)").matches;

// Beside the text that it is about: in a form to edit, else in the composer; on a page without one
// above everything.
export function say(sentence, form = null) {
  let place = form ? $(".field-error", form) : $("#composer-error");
  if (!place && !form) {
    $("#toast").innerHTML = "<span></span>";
    place = $("#toast span");
  }
  if (place) place.textContent = sentence;
}

// By the status of an answer; 0: there was none.
export function sentenceFor(status) {
  return words()[`on-${status}`] ?? words().failed;
}

// The focus of a form that goes away: to where one writes, not to the top of the page.
export function leaveForm(form) {
  if (form.contains(document.activeElement) && hasKeyboard()) composerText()?.focus({ preventScroll: true });
}
