// Says when the server doesn't answer what the page asks every few seconds, until it does again.
(function () {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const part = (type, ...children) => ({ namespace: "dash_html_components", type, props: { children } });

  function failed(what) {
    const live = document.getElementById("live");
    if (!live || live.classList.contains("mp-lost")) return;
    live.classList.add("mp-lost");
    live.lastChild.textContent = what + " since " + clock.format(new Date());
    if (document.querySelector("#body .mp-ghosts")) window.dash_clientside.set_props("body", { children: nothing() });
  }

  function worked() {
    const live = document.getElementById("live");
    if (!live || !live.classList.contains("mp-lost")) return;
    live.classList.remove("mp-lost");
    live.lastChild.textContent = "Live";
  }

  // Instead of ghosts on a page that has shown nothing yet.
  function nothing() {
    const reload = part("A", "Reload the page");
    Object.assign(reload.props, { href: location.href, className: "mp-link" });
    const box = part("Div", part("H3", "The page can't be shown"),
      part("P", "The server doesn't answer, or with an error. It is asked again every few seconds."), reload);
    box.props.className = "mp-empty";
    return box;
  }

  // An error in a callback is answered by 200 too: with a notice, and without what was asked for.
  function drew(answer) {
    if (answer.status !== 200) return answer.status < 500;
    return answer.json().then((one) => !one.sideUpdate, () => false);
  }

  const fetched = window.fetch.bind(window);
  window.fetch = async function (target, options) {
    const page = String(options && options.body).includes('"output":"update.data"');
    let answer;
    try {
      answer = await fetched(target, options);
    } catch (error) {
      if (page) failed("No connection");
      throw error;
    }
    const address = typeof target === "string" ? target : target.url || "";
    if (answer.status === 401 && address.includes("/_dash-")) {  // the session has ended
      location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
    } else if (page) {
      if (await drew(answer.clone())) worked();
      else failed("Server error");
    }
    return answer;
  };
})();
