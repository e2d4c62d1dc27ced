// The page: logs in, listens to the feed, and shows what it says.

import { drainButton, listen, searchAgain, searched } from "/dashboard/acts.js";
import { Chart } from "/dashboard/charts.js";
import { color, duration, element, find, number, rows, share } from "/dashboard/elements.js";
import { History, OUTCOMES } from "/dashboard/figures.js";
import { drawRing } from "/dashboard/ring.js";
import { ask, Feed, showKey, shownKey } from "/dashboard/server.js";

const STATE_COLORS = { live: 1, leaving: 2, restarting: 2, lost: 3 };
const POLICY_VIOLATION = 1008;
const FAULTS = { 401: "That key is not known.", 403: "That key may not read here: it lacks the scope read." };
// What a key is made of. With anything else neither a header nor a subprotocol could be made.
const KEY = /^[\w-]+$/;
const history = new History();
const feed = new Feed(takeFigures, lost);
let charts = null;
let latest = null; // STAT1

function say(text, isLost = false) {
  find("state").textContent = text;
  find("state").className = isLost ? "lost" : "";
}

async function lost(code) {
  if (code === POLICY_VIOLATION) {
    feed.close();
    const key = shownKey();
    const { status } = await ask("GET", "/v1/fleet");
    if (shownKey() === key) logIn(key ? FAULTS[status] ?? "That key was refused." : ""); // else another is being tried
    return;
  }
  say("no connection to the API; trying again", true);
}

function takeFigures(stat) {
  if (stat.error) return say(`the router does not answer: ${stat.message ?? stat.error}`, true);
  const { router } = stat;
  const away = router.restarting + router.lost;
  say(`${router.live} workers live${router.leaving ? `, ${router.leaving} leaving` : ""}${away ? `, ${away} away` : ""}`, away > 0);
  const second = history.take(stat, Date.now() / 1000);
  if (latest && String(latest.router.epoch) !== String(router.epoch)) searchAgain();
  latest = stat;
  drawRing(find("ring"), stat, searched);
  showWorkers(stat, second);
  showServices(stat);
  find("about").textContent = `push-gateway ${router.version}, router ${router.position} up ${duration(router.uptime_s)}`;
  find("now-connections").textContent = number(stat.totals.connections.all);
  if (second) showSecond(second);
}

function showSecond({ time, connections, rates, latency, closes }) {
  const all = Object.values(rates).includes(null) ? null : Object.values(rates).reduce((sum, rate) => sum + rate, 0);
  find("now-pushes").textContent = number(all);
  find("now-delivered").textContent = all ? share(rates.delivered / all) : "–";
  find("now-p99").textContent = duration(latency.p99);
  charts.pushes.add(time, Object.keys(OUTCOMES).map((name) => rates[name]));
  charts.connections.add(time, [connections]);
  charts.latency.add(time, [latency.p50, latency.p99]);
  rows(find("closes"), ["Reason", "#Minute", "#Since the start"], closes.map((row) => [row.reason, number(row.minute), number(row.total)]));
}

function showWorkers(stat, second) {
  const labels = ["Worker", "State", "#Share", "#Connections", "#Pushes/s", "#Waiting", "#Heard", ""];
  const names = Object.keys(stat.workers).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  rows(find("workers"), labels, names.map((name) => {
    const worker = stat.workers[name];
    const state = element("span");
    const dot = element("span", "", { class: "dot" });
    dot.style.background = color(STATE_COLORS[worker.state] ?? 6);
    state.append(dot, worker.state);
    const connections = Object.values(worker.connections).reduce((sum, count) => sum + count, 0);
    return [
      name, state, share(worker.slots / stat.totals.slots), number(connections), number(second?.workers[name]),
      number(worker.pushes_waiting), `${worker.heartbeat_age_s.toFixed(1)} s`, worker.state === "live" ? drainButton(name) : "",
    ];
  }));
}

function showServices(stat) {
  const cells = Object.entries(stat.services).map(([name, service]) => [
    name, number(service.outstanding), number(service.queued), `${service.heartbeat_age_s.toFixed(1)} s`,
  ]);
  rows(find("services"), ["Service", "#Under way", "#Queued", "#Heard"], cells);
}

function logIn(fault) {
  showKey("");
  find("page").hidden = true;
  find("logout").hidden = true;
  find("login").hidden = false;
  find("login-fault").textContent = fault;
  find("key").focus();
  say("not logged in");
}

// Whether the API lets this key, or nobody in particular, read; a silent router is no reason not to. An API that does
// not answer is one for who logs in: whether the key is good nobody knows.
async function start(logsIn = false) {
  const { status, body } = await ask("GET", "/v1/fleet");
  if (status in FAULTS) return logIn(shownKey() ? FAULTS[status] : "");
  if (logsIn && !status) return logIn(`${body.detail}: try again`);
  find("login").hidden = true;
  find("page").hidden = false;
  find("logout").hidden = !shownKey();
  charts ??= {
    pushes: new Chart(find("chart-pushes"), Object.keys(OUTCOMES).map((name, index) => [name, index])),
    connections: new Chart(find("chart-connections"), [["connections", 0]]),
    latency: new Chart(find("chart-latency"), [["half within", 0], ["99 % within", 5]], duration),
  };
  feed.open();
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = find("key").value.trim();
  find("key").value = "";
  if (!KEY.test(key)) return logIn(FAULTS[401]);
  showKey(key);
  start(true);
});
find("logout").addEventListener("click", () => {
  feed.close();
  logIn("");
});
find("search").addEventListener("searched", () => latest && drawRing(find("ring"), latest, searched));
listen();
start();
