// Opens the page: over a live server, or over a finished study.
import { askJson } from "./api.js";
import { byId, complain } from "./dom.js";
import { useColours } from "./maps.js";

function followTheme() {
  const chooser = byId("theme");
  const root = document.documentElement;
  chooser.value = root.dataset.theme;
  chooser.addEventListener("change", () => {
    root.dataset.theme = chooser.value;
    try { localStorage.setItem("gazeshift-theme", chooser.value); } catch { /* forgotten when the tab is closed */ }
  });
}

async function open() {
  followTheme();
  const mode = document.documentElement.dataset.mode;
  try {
    const start = await askJson(mode === "study" ? "explorer/study" : "explorer/start");
    useColours(start.colours);
    byId("about").textContent = start.about;
    byId("about").title = start.about;
    if (mode === "study") (await import("./study.js")).startStudy(start);
    else (await import("./live.js")).startLive(start);
  } catch (error) {
    complain("fatal", error);
  }
}

open();
