// What one can do here: find a token, push to it, drain a worker.

import { element, find } from "/dashboard/elements.js";
import { ask } from "/dashboard/server.js";

const MESSAGES_MAX = 20;
const RECENT_MAX = 5;
const at = (token) => encodeURIComponent(token);
const fault = (answer) => answer.body.detail ?? answer.body.error ?? `status ${answer.status}`;

function lines(place, pairs) {
  place.replaceChildren(...pairs.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

// Where the token lies that was asked for last: what drawRing needs; null: none was.
export let searched = null;

const hopsOf = (message, what) => message.hops.filter((hop) => hop.what === what);
const clock = (us) => new Date(us / 1000).toLocaleTimeString("en-GB");

// "13:23:51 5 bytes: SENT after 0.6 ms, acknowledged after 41.2 ms"
function story(message) {
  const [first] = message.hops;
  const after = (hop) => `${((hop.at - first.at) / 1000).toFixed(1)} ms`;
  const answered = message.hops.findLast((hop) => hop.what.startsWith("answered"));
  const [acknowledged] = hopsOf(message, "acknowledged");
  const parts = [answered ? `${message.outcome} after ${after(answered)}` : message.outcome ?? "under way"];
  if (acknowledged) parts.push(`acknowledged after ${after(acknowledged)}`);
  return `${clock(first.at)} ${message.bytes} bytes: ${parts.join(", ")}`;
}

// A line for each push of late, with its hops behind it.
function recent(message) {
  const line = element("details");
  const hops = element("ol");
  const [first] = message.hops;
  hops.append(
    ...message.hops.map((hop) => element("li", `+${((hop.at - first.at) / 1000).toFixed(3)} ms ${hop.where}: ${hop.what} ${hop.more}`)),
  );
  line.append(element("summary", story(message)), element("code", message.id), hops);
  const item = element("li");
  item.append(line);
  return item;
}

function showExplanation(told, pairs) {
  if (told.status !== 200) {
    searched = null;
    pairs.push(["Ring", fault(told)]);
    find("search-recent").replaceChildren();
    return;
  }
  const { slot, owner, messages, problems } = searched = told.body;
  pairs.push(["Ring", owner ? `slot ${slot} of ${owner}` : `slot ${slot}, nobody's`]);
  const acknowledged = messages.filter((one) => hopsOf(one, "acknowledged").length).length;
  pairs.push(["Lately", `${messages.length} pushed, ${acknowledged} acknowledged`]);
  pairs.push(...problems.map((problem) => ["Wrong", problem]));
  find("search-recent").replaceChildren(...messages.slice(-RECENT_MAX).reverse().map(recent));
}

function showNone(token, answer) {
  searched = null;
  lines(find("search-answer"), [["Token", token], ["Wrong", fault(answer)]]);
  find("search-recent").replaceChildren();
  find("search-messages").replaceChildren();
  find("search").dispatchEvent(new Event("searched", { bubbles: true }));
}

async function search(token) {
  const [where, kept, told] = await Promise.all([
    ask("GET", `/v1/connections/${at(token)}`),
    ask("GET", `/v1/tokens/${at(token)}/messages?limit=${MESSAGES_MAX}`),
    ask("GET", `/v1/tokens/${at(token)}/explanation`),
  ]);
  if (token !== find("search-token").value) return; // another was asked for meanwhile
  if (where.body.code === "invalid") return showNone(token, where); // there can be no such token: once is enough
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
  showExplanation(told, pairs);
  lines(find("search-answer"), pairs);
  find("search").dispatchEvent(new Event("searched", { bubbles: true }));
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

// The ring is another: the token may lie elsewhere.
export function searchAgain() {
  if (searched && searched.token === find("search-token").value) search(searched.token);
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
