// Runs before anything is drawn: the reader's colour scheme and time zone.
(function () {
  var root = document.documentElement;
  var kept = null;
  try { kept = localStorage.getItem("mantine-color-scheme-value"); } catch (error) { /* private mode */ }
  var dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
  var zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  document.cookie = "milepost_zone=" + zone + "; path=/; max-age=31536000; SameSite=Lax";
})();
