// What one can do here: find a token, push to it, drain a worker.

import { element, find } from "/dashboard/elements.js";
import { ask } from "/dashboard/server.js";

const MESSAGES_MAX = 20;
const at = (token) => encodeURIComponent(token);
const fault = (answer) => answer.body.detail ?? answer.body.error ?? `status ${answer.status}`;

function lines(place, pairs) {
  place.replaceChildren(...pairs.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

async function search(token) {
  const [where, kept] = await Promise.all([
    ask("GET", `/v1/connections/${at(token)}`),
    ask("GET", `/v1/tokens/${at(token)}/messages?limit=${MESSAGES_MAX}`),
  ]);
  if (token !== find("search-token").value) return; // another was asked for meanwhile
  const pairs = [["Token", token]];
  if (where.status === 200) {
    const { worker, protocol, address, since, uid, online } = where.body;
    pairs.push(["Worker", worker ?? "does not answer"]);
    if (online) pairs.push(["Protocol", protocol], ["Address", address], ["Since", new Date(since).toLocaleString("en-GB")]);
    if (uid) pairs.push(["User", uid]);
  } else {
    pairs.push(["Client", where.body.code === "not_connected" ? "not connected" : fault(where)]);
  }
  const messages = kept.status === 200 ? kept.body.messages : [];
  const more = kept.body.next ? ` or more` : "";
  pairs.push(["Kept", kept.status === 200 ? `${messages.length}${more} messages` : fault(kept)]);
  lines(find("search-answer"), pairs);
  find("search-messages").replaceChildren(
    ...messages.map((one) => element("li", one.payload ?? `${one.payload_base64} (base64)`)),
  );
}

async function push() {
  const ttl = Number(find("push-ttl").value);
  const body = { token: find("push-token").value, payload: find("push-payload").value, ...(ttl ? { ttl } : {}) };
  const answer = await ask("POST", "/v1/pushes", body);
  find("push-answer").textContent = answer.status === 200 ? answer.body.results[0].outcome : fault(answer);
}

async function drain(worker) {
  const answer = await ask("POST", `/v1/workers/${at(worker)}/drain`);
  find("drain-answer").textContent = answer.status === 202 ? `${worker} is leaving` : `${worker}: ${fault(answer)}`;
}

export function drainButton(worker) {
  const button = element("button", "Drain", { type: "button", class: "grave", "aria-label": `Drain ${worker}` });
  button.dataset.worker = worker;
  return button;
}

export function listen() {
  const dialog = find("confirm");
  let chosen = "";
  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search(find("search-token").value);
  });
  find("push").addEventListener("submit", (event) => {
    event.preventDefault();
    push();
  });
  find("workers").addEventListener("click", (event) => {
    if (!event.target.dataset.worker) return;
    chosen = event.target.dataset.worker;
    find("confirm-question").textContent = `Drain ${chosen}?`;
    dialog.showModal();
  });
  find("confirm-no").addEventListener("click", () => dialog.close());
  find("confirm-yes").addEventListener("click", () => {
    dialog.close();
    drain(chosen);
  });
}
