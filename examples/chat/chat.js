// The chat's page: WebSocket text messages (docs/client-protocol.md), the topics of README.md. No library, no build.
"use strict"

const INTERVAL_S = 30 // of the heartbeat
const PEOPLE_MS = 5000 // how often it looks who is there
const ANSWER_MS = 8000 // longest wait for an answer; the gateway gives up before
const FINAL = ["rejected", "replaced", "kicked", "credential_expired"] // coming back would not help
const element = (id) => document.getElementById(id)

let socket, timer, own
let current = null // the conversation that is shown: { user } or { group }
const people = new Map() // name -> { name, displayName, online }
const groups = new Map() // group -> { group, title, owner }
const messages = new Map() // id -> message; the same one may come twice
const unread = new Map() // key of a conversation -> how many

// --- connection: `ask` gives a promise of a topic's answer

const waiting = new Map() // message id -> { resolve, reject, timer }
let lastId = 0

function connect(gateway, token) {
  clearTimeout(timer)
  socket?.close()
  const mine = socket = new WebSocket(gateway)
  let heartbeat, looking
  let pause = 500 + 4500 * Math.random() // all clients at once would be a storm

  const say = (signal, content) => mine.send(JSON.stringify({ signal, messageId: 0, content }))

  mine.onopen = () => {
    say("SUB", { token })
    heartbeat = setInterval(() => say("PING", { interval: INTERVAL_S }), 1000 * INTERVAL_S)
  }

  mine.onmessage = (event) => {
    const { signal, subSignal, messageId, content } = JSON.parse(event.data)
    if (signal === "PUB_ACK") answered(messageId, content)
    else if (signal === "PUBLISH" && subSignal === "MN") receive([JSON.parse(content)], true)
    else if (signal === "DISCONNECT") pause = JSON.parse(content).retry_after_ms ?? pause
    else if (signal === "SUB") {
      const { status, message } = JSON.parse(content)
      if (status !== 200) return show("state", `refused: ${status} ${message}`)
      show("state", `connected as ${token}`)
      tryTo(begin)
      looking = setInterval(() => look().catch(() => {}), PEOPLE_MS)
    }
  }

  mine.onclose = (event) => {
    clearInterval(heartbeat)
    clearInterval(looking)
    if (mine !== socket) return
    for (const id of [...waiting.keys()]) settle(id)?.reject(new Error("the connection is lost"))
    show("state", `closed: ${event.code} ${event.reason || "connection lost"}`)
    if (!FINAL.includes(event.reason)) timer = setTimeout(() => connect(gateway, token), pause)
  }
}

function ask(subSignal, content) {
  return new Promise((resolve, reject) => {
    if (socket?.readyState !== WebSocket.OPEN) return reject(new Error("not connected"))
    do lastId = lastId % 65535 + 1; while (waiting.has(lastId))
    const id = lastId
    const late = setTimeout(() => settle(id)?.reject(new Error("no answer")), ANSWER_MS)
    waiting.set(id, { resolve, reject, timer: late })
    socket.send(JSON.stringify({ signal: "PUBLISH", subSignal, messageId: id, content }))
  })
}

function answered(id, content) {
  const { code, message, ...answer } = JSON.parse(content) // no answer of this service has a field `code`
  if (code) settle(id)?.reject(Object.assign(new Error(message), { code }))
  else settle(id)?.resolve(answer)
}

function settle(id) {
  const call = waiting.get(id)
  clearTimeout(call?.timer)
  waiting.delete(id)
  return call
}

// --- what there is

async function begin() {
  await ask("MMI", { displayName: element("shown").value.trim() })
  await Promise.all([look(), ask("GPGI", {}).then(receiveGroups)])
  let more = true
  while (more) {
    const pulled = await ask("MP", { after: Math.max(0, ...messages.keys()) })
    receive(pulled.messages, false)
    more = pulled.more
  }
}

async function look() {
  const { users } = await ask("FP", {})
  for (const user of users) people.set(user.name, user)
  drawConversations()
}

function receiveGroups(answer) {
  for (const group of answer.groups) groups.set(group.group, group)
  drawConversations()
}

function receive(received, isNew) {
  const fresh = received.filter(({ id }) => !messages.has(id))
  for (const message of fresh) {
    messages.set(message.id, message)
    const key = keyOf(conversationOf(message))
    if (isNew && message.sender !== own && key !== keyOf(current)) unread.set(key, (unread.get(key) ?? 0) + 1)
  }
  if (fresh.some(({ group }) => group && !groups.has(group))) ask("GPGI", {}).then(receiveGroups, () => {})
  if (fresh.some(({ sender }) => sender !== own && !people.has(sender))) look().catch(() => {})
  if (fresh.length) draw()
}

const conversationOf = ({ group, user, sender }) => group ? { group } : { user: sender === own ? user : sender }
const keyOf = (conversation) => conversation && JSON.stringify([conversation.group ?? null, conversation.user ?? null])
const shownName = (name) => people.get(name)?.displayName ?? name

// --- the page; every text is put in as text, never as HTML

function show(id, text) {
  element(id).textContent = text
}

function make(tag, text, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties)
}

async function tryTo(work) {
  show("fault", "")
  try {
    return await work()
  } catch (error) {
    show("fault", error.message)
  }
}

function draw() {
  drawConversations()
  const shown = [...messages.values()].filter((message) => keyOf(conversationOf(message)) === keyOf(current))
  element("messages").replaceChildren(...shown.sort((one, other) => one.id - other.id).map(drawn))
  element("messages").scrollTop = element("messages").scrollHeight
}

function drawn({ sender, text, sentMs }) {
  const item = make("li", "", { className: sender === own ? "own" : "" })
  const time = new Date(sentMs).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
  item.append(make("small", `${sender === own ? "you" : shownName(sender)}, ${time}`), make("p", text))
  return item
}

// Items stay when nothing of them has changed, so that the focus does.
function drawConversations() {
  const others = [...people.values()]
  fill("people", others, ({ name, displayName, online }) => entry({ user: name }, displayName, online ? "online" : "away"))
  fill("groups", [...groups.values()], ({ group, title }) => entry({ group }, title, ""))
  fill("choices", others, ({ name, displayName }) => {
    const label = make("label", ` ${displayName}`)
    label.prepend(make("input", "", { type: "checkbox", value: name }))
    return label
  })
}

function fill(id, things, drawOne) {
  const list = element(id)
  things.forEach((thing, index) => {
    const now = drawOne(thing)
    const old = list.children[index]
    if (!old) list.append(now)
    else if (!old.isEqualNode(now)) replace(old, now)
  })
}

function replace(old, now) {
  const focused = old.contains(document.activeElement)
  old.replaceWith(now)
  if (focused) now.querySelector("button, input").focus()
}

function entry(conversation, title, note) {
  const key = keyOf(conversation)
  const button = make("button", title, { type: "button", onclick: () => choose(conversation, title) })
  button.setAttribute("aria-current", key === keyOf(current))
  if (unread.get(key)) button.append(make("b", `${unread.get(key)} new`))
  button.append(make("small", note))
  const item = make("li", "")
  item.append(button)
  return item
}

async function choose(conversation, title) {
  current = conversation
  unread.delete(keyOf(current))
  element("say").hidden = false
  show("with", title)
  draw()
  element("text").focus()
  if (!conversation.group) return
  const { users } = await tryTo(() => ask("GPGM", conversation)) ?? { users: [] }
  if (current === conversation) show("with", `${title}: ${users.map(({ displayName }) => displayName).join(", ")}`)
}

element("join").onsubmit = (event) => {
  event.preventDefault()
  const token = element("name").value.trim()
  if (own !== token) for (const known of [people, groups, messages, unread]) known.clear()
  if (own !== token) for (const id of ["people", "groups", "choices", "messages"]) element(id).replaceChildren()
  own = token
  document.title = `chat: ${own}`
  connect(element("gateway").value, own)
}

element("say").onsubmit = (event) => {
  event.preventDefault()
  const text = element("text").value
  tryTo(async () => {
    const said = { ...current, text, clientId: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` }
    element("text").value = ""
    try {
      receive([await ask("MS", said)], true)
    } catch (error) {
      element("text").value ||= text
      throw error
    }
  })
}

element("make").onsubmit = (event) => {
  event.preventDefault()
  const members = [...element("choices").querySelectorAll("input:checked")].map(({ value }) => value)
  tryTo(async () => {
    const group = await ask("GC", { title: element("title").value.trim(), members })
    element("make").reset()
    element("new-group").open = false
    receiveGroups({ groups: [group] })
    choose({ group: group.group }, group.title)
  })
}

const asked = new URLSearchParams(location.search)
for (const id of ["name", "shown", "gateway"]) if (asked.has(id)) element(id).value = asked.get(id)
if (asked.has("name")) element("join").requestSubmit()
