// The few things that the pages do in the browser. No libraries, nothing from elsewhere.
window.dash_clientside = window.dash_clientside || {};
(function () {
  const none = () => window.dash_clientside.no_update;
  const CURSORS = ["cursor", "before"];

  function triggered() {
    return (window.dash_clientside.callback_context.triggered || []).map((one) => one.prop_id);
  }

  function decoded(pathname) {
    try { return decodeURIComponent(pathname); } catch (error) { return pathname; }  // mistyped
  }

  // What the reader has opened stays open when the list that it is in is drawn anew.
  function keepOpen() {
    const open = [...document.querySelectorAll("#body details[open][id]")].map((one) => one.id);
    if (!open.length) return;
    let frames = 0;
    const reopen = () => {
      open.map((id) => document.getElementById(id)).forEach((one) => { if (one) one.open = true; });
      if (++frames < 4) requestAnimationFrame(reopen);
    };
    requestAnimationFrame(reopen);
  }

  window.dash_clientside.milepost = {
    // Filters and the address say the same: whichever changed rules.
    sync(search, values, ids) {
      if (ids.some((id) => !id)) return [none(), ids.map(none)];  // the page is being left
      const params = new URLSearchParams(search || "");
      if (triggered().every((name) => name === "url.search")) {
        const wanted = ids.map((id) => params.get(id.name) || id.default || null);
        const same = wanted.every((value, at) => (values[at] || null) === value);
        return [none(), same ? values.map(none) : wanted.map((value, at) => (ids[at].name === "q" ? value || "" : value))];
      }
      const before = params.toString();
      ids.forEach((id, at) => {
        const value = values[at];
        if (!value || value === id.default) params.delete(id.name);
        else params.set(id.name, value);
      });
      if (params.toString() === before) return [none(), values.map(none)];
      CURSORS.forEach((name) => params.delete(name));
      const text = params.toString();
      return [text ? "?" + text : "", values.map(none)];
    },

    // Draws what the server sent: a whole page, a body, or what of it has changed. What was sent for another address,
    // while the reader went on, is dropped.
    apply(update, pathname, search) {
      if (!update || update.pathname !== pathname || update.search !== (search || "")) {
        return [none(), none(), none(), none()];
      }
      keepOpen();
      for (const change of update.changes || []) {
        if (document.getElementById(change.id)) {
          window.dash_clientside.set_props(change.id, { [change.prop]: change.value });
        }
      }
      window.milepostPlaces.drawn();
      const given = (name) => (name in update ? update[name] : none());
      return [given("frame"), given("body"), given("title"), update.shown];
    },

    // A hidden tab asks for nothing.
    pulse(ticks) {
      return document.hidden ? none() : ticks;
    },

    entitle(heading) {
      if (!heading) return none();
      document.title = heading + " · Milepost";
      return heading;
    },

    navigate(pathname, ids) {
      const here = decoded(pathname || "/");
      window.milepostPlaces.arrive(pathname);
      return ids.map((id) => {
        const on = id.href === "/" ? here === "/" : here === id.href || here.startsWith(id.href + "/");
        return on ? "mp-nav-link mp-on" : "mp-nav-link";
      });
    },

    // The burger opens the navigation; going somewhere closes it.
    burger(opened, _, navbar) {
      const open = triggered().includes("burger.opened") ? opened : false;
      return [Object.assign({}, navbar, { collapsed: { mobile: !open } }), open];
    },

    find(_, text) {
      if (!text || !text.trim()) return [none(), none(), none()];
      return ["/journeys", "?kind=any&state=any&q=" + encodeURIComponent(text.trim()), ""];
    },
  };

  document.addEventListener("click", (event) => {
    const toggle = event.target.closest("[data-toggle]");
    if (toggle) toggle.closest(".mp-" + toggle.dataset.toggle).classList.toggle("mp-open");
  });

  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest && event.target.closest("input, textarea, [contenteditable]");
    if (event.key !== "/" || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = document.getElementById("find");
    if (box && box.offsetParent) { event.preventDefault(); box.focus(); }
  });
})();
