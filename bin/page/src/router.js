// The views of the page, selected by the part of the address behind #.

/** The address of the page of a listener. */
export const listenerPath = (name) => `#/listener/${encodeURIComponent(name)}`;

/** The view and the listener of an address. An unknown address is the overview. */
export function parse(hash) {
  const [, view, name] = /^#\/(listener|bans|log|configuration)(?:\/([^/]+))?$/.exec(hash) ?? [];
  try {
    if (view === "listener" && name) return { view, listener: decodeURIComponent(name) };
  } catch {
    return { view: "overview", listener: null };
  }
  return { view: view && view !== "listener" ? view : "overview", listener: null };
}

/** Calls `show` with the view now and whenever it changes. A change moves the focus to the title of the view. */
export function route(show) {
  const follow = (isFirst) => {
    const target = parse(location.hash);
    for (const element of document.querySelectorAll("[data-views]")) {
      element.hidden = !element.dataset.views.split(" ").includes(target.view);
    }
    for (const link of document.querySelectorAll("nav a")) {
      const isCurrent = link.dataset.view === target.view;
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    show(target);
    if (isFirst) return;
    window.scrollTo(0, 0);
    document.querySelector(`[data-title="${target.view}"]`)?.focus();
  };
  addEventListener("hashchange", () => follow(false));
  follow(true);
}
