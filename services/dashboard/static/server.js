// The API and the live feed. The key is in a header or a subprotocol, never in a URL.

const KEY = "push-gateway-key";
const RETRY_MS = [500, 1000, 2000, 3000];

export const shownKey = () => sessionStorage.getItem(KEY);
export const showKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));

// {status, body}; status 0: the server does not answer.
export async function ask(method, path, body) {
  const headers = { Accept: "application/json" };
  if (shownKey()) headers.Authorization = `Bearer ${shownKey()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  } catch {
    return { status: 0, body: { detail: "the API does not answer" } };
  }
}

// Calls `onFigures` with each answer, `onLost` when there is no connection; comes back by itself.
export class Feed {
  constructor(onFigures, onLost) {
    Object.assign(this, { onFigures, onLost, tries: 0, socket: null, timer: 0 });
  }

  open() {
    this.close();
    const protocols = shownKey() ? ["push-dashboard", `key.${shownKey()}`] : ["push-dashboard"];
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/dashboard/live`, protocols);
    this.socket = socket;
    socket.onmessage = (event) => {
      this.tries = 0;
      this.onFigures(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      this.timer = setTimeout(() => this.open(), RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)]);
      this.onLost(event.code); // which may close it for good
    };
  }

  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }
}
