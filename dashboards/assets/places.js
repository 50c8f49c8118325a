// Where on a page the reader was: going on begins at the top, going back leads to that place again.
(function () {
  const PATIENCE = 90;  // frames: a grid draws its rows after its page is there
  const heights = new Map();
  const address = () => location.pathname + location.search;
  let path = location.pathname;
  let wanted = null;

  addEventListener("scroll", () => { if (wanted === null) heights.set(address(), scrollY); });
  addEventListener("popstate", () => { if (location.pathname !== path) wanted = heights.get(address()) || 0; });
  addEventListener("_dashprivate_pushstate", () => { wanted = null; });

  function drawn(frames = PATIENCE) {
    if (wanted === null) return;
    window.scrollTo(0, wanted);
    if (frames && scrollY < wanted - 1) requestAnimationFrame(() => drawn(frames - 1));
    else wanted = null;
  }

  function arrive(pathname) {
    path = pathname;
    if (wanted === null) window.scrollTo(0, 0);
  }

  window.milepostPlaces = { arrive, drawn: () => requestAnimationFrame(() => drawn()) };
})();
