// Requests to this server. A refusal becomes one sentence; a missing token is asked for once and then remembered.
import { byId } from "./dom.js";

const KEY = "gazeshift-token";

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

function remembered() {
  try { return sessionStorage.getItem(KEY) || ""; } catch { return ""; }
}

function remember(token) {
  try { sessionStorage.setItem(KEY, token); } catch { /* asked for again next time */ }
}

function askForToken() {
  const dialog = byId("token");
  byId("token-value").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    byId("token-cancel").onclick = () => dialog.close("");
    byId("token-form").onsubmit = (event) => { event.preventDefault(); dialog.close(byId("token-value").value.trim()); };
    dialog.onclose = () => {
      if (dialog.returnValue) resolve(dialog.returnValue);
      else reject(new Refused("The server wants a token, and none was given. Reload the page to type it.", 401));
      dialog.returnValue = "";
    };
  });
}

async function sentence(answer) {
  try {
    const { error } = await answer.json();
    if (error?.message) return error.message;
  } catch { /* not ours: say what is known */ }
  return `The server answered ${answer.status} ${answer.statusText}`.trim() + ".";
}

async function send(path, options, token) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  try {
    return await fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Refused("The server does not answer. Is it still running?", 0);
  }
}

export async function ask(path, options = {}) {
  let answer = await send(path, options, remembered());
  if (answer.status === 401) {
    const token = await askForToken();
    answer = await send(path, options, token);
    if (answer.status === 401) throw new Refused("That is not this server’s token. Reload the page and type it again.", 401);
    if (answer.ok) remember(token);
  }
  if (!answer.ok) throw new Refused(await sentence(answer), answer.status);
  return answer;
}

export const askJson = async (path, options) => (await ask(path, options)).json();
