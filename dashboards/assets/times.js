// Times in the reader's own zone and language, kept up to date: <time datetime="…" data-mode="ago|left|time|day">.
(function () {
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function span(seconds) {
    const parts = [];
    let rest = Math.floor(Math.abs(seconds));
    for (const [size, unit] of UNITS) {
      const count = Math.floor(rest / size);
      rest -= count * size;
      if (count) parts.push(count + " " + unit);
      else if (parts.length) break;
      if (parts.length === (size === 60 ? 1 : 2)) break;
    }
    return parts.slice(0, 2).join(" ") || "0 s";
  }

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const long = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

  function ago(at, now) {
    const seconds = (now - at) / 1000;
    if (seconds < -60) return "in " + span(seconds);
    if (seconds < 5) return "now";  // clocks differ a little
    const hours = Math.floor(seconds / 3600);
    return (hours >= 10 && hours < 24 ? hours + " h" : span(seconds)) + " ago";
  }

  function left(at, now) {
    const seconds = (at - now) / 1000;
    return seconds < 0 ? span(seconds) + " over" : span(seconds) + " left";
  }

  function time(at, now) {
    const sameDay = at.toDateString() === now.toDateString();
    const date = at.getFullYear() === now.getFullYear() ? day : long;
    return sameDay ? clock.format(at) : date.format(at) + ", " + clock.format(at);
  }

  const MODES = { ago, left, time, span: (at, now) => span((now - at) / 1000), date: (at) => day.format(at), clock: (at) => clock.format(at), day: (at) => long.format(at) };

  function write(element, now) {
    const at = new Date(element.dateTime);
    const text = (MODES[element.dataset.mode] || time)(at, now);
    const node = element.firstChild;
    // the node stays, only its text changes: React goes on owning it
    if (node && node.nodeType === Node.TEXT_NODE && node.nodeValue !== text) node.nodeValue = text;
    if (element.dataset.titled !== element.dateTime) {
      element.title = full.format(at);
      element.dataset.titled = element.dateTime;
    }
  }

  function all() {
    const now = new Date();
    document.querySelectorAll("time[data-mode]").forEach((element) => write(element, now));
  }

  let planned = false;
  function soon() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; all(); });
  }

  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true, characterData: true });
    setInterval(() => { if (!document.hidden) all(); }, 1000);
  });
  window.milepostTimes = { ago, left, time };
})();
