/* The clients of a chaos run: every protocol, busy, slow and idle ones, who come back when they are dropped.
 *
 *   clients HOST PORT SOURCE FIRST COUNT LEDGER SLOW_BYTES BUSY_MS
 *
 * Clients FIRST to FIRST+COUNT-1 with tokens `c<number>`, from address SOURCE (one address reaches one port with
 * 28,000 connections). A busy client says PUBLISH or PING of 4 KiB every BUSY_MS, in three writes, one tick apart;
 * a slow one has a small receive buffer and reads SLOW_BYTES a second. A push's payload begins with its number in
 * 8 hex digits. What they see goes to the file LEDGER. Commands on stdin, one line of JSON on stdout for each:
 *
 *   open WINDOW   connect all, at most WINDOW of them on their way at once; answered when all are bound
 *   busy 0|1      busy clients stop or go on
 *   hurry N       client N, a slow one, reads everything until its connection ends, which it would see late; no answer
 *   drain         slow clients read everything from now on
 *   stats         counts; the ledger is complete up to here
 *   quit          resets every connection and ends
 */
#define _GNU_SOURCE
#include "members.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_BYTES 65536
#define PIECE_BYTES (4 << 20)
#define EVENTS 1024
#define TICK_NS 20000000ull
#define TICKS_PER_S 50
#define PIECES 3
#define SMALL_BUFFER 4096
#define SMALL_SEGMENT 536 /* or the server's kernel would take megabytes for a slow client */

static struct sockaddr_in server, source;
static struct member *members;
static uint32_t first, count, opened, under_way, bound, window;
static uint64_t slow_bytes, busy_ticks, tick, next_tick;
static int poller, is_busy, is_draining, opening;
static struct { uint64_t pushes, asked, answered, unanswered, lost, refused, rejected, faults, slowest_us[3]; } counts;
static char last_fault[160];

static void fault(const struct member *member, const char *what)
{
    counts.faults++;
    snprintf(last_fault, sizeof last_fault, "client %u, kind %d, role %d: %s", member->number, member->kind, member->role, what);
}

static void watch(struct member *member, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.u32 = member->number - first};
    if (epoll_ctl(poller, operation, member->fd, &event) != 0)
        fail("epoll_ctl");
}

/* The connection has ended: come back soon. */
static void drop(struct member *member)
{
    if (member->state == BOUND) {
        bound--;
        counts.lost++;
        counts.unanswered += member->asked - member->answered;
        enter(LOST, member->number, member->said, member->piece_number || member->have || member->asked != member->answered);
    } else {
        under_way--;
        if (member->state == CONNECTING)
            counts.refused++;
        else
            counts.rejected++;
    }
    close(member->fd);
    free(member->piece);
    member->piece = NULL;
    member->fd = -1;
    member->have = member->asked = member->answered = member->piece_number = member->said = 0;
    member->state = WAITING;
    member->due = tick + 5 + random64() % 10;
}

static int send_bytes(struct member *member, const void *bytes, size_t length)
{
    if (send(member->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length)
        return 1;
    shutdown(member->fd, SHUT_RDWR);
    return 0;
}

static void send_message(struct member *member, int signal, int id, const char *json)
{
    unsigned char buffer[OUTGOING_BYTES];
    size_t length;
    const unsigned char *start = put_message(member, buffer, signal, id, json, 0, &length);
    send_bytes(member, start, length);
}

static void send_sub(struct member *member)
{
    char json[100];
    snprintf(json, sizeof json, "{\"token\":\"c%u\"%s%s}", member->number, member->ids ? ",\"ids\":true" : "",
             member->acks ? ",\"ack\":true" : "");
    member->state = SUBSCRIBING;
    send_message(member, SUB, 0, json);
}

static void connect_member(struct member *member)
{
    const int yes = 1, small = SMALL_BUFFER, segment = SMALL_SEGMENT;
    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (member->fd < 0)
        fail("socket");
    setsockopt(member->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(member->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (member->role == SLOW) {
        setsockopt(member->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        setsockopt(member->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    }
    if (bind(member->fd, (struct sockaddr *)&source, sizeof source) != 0)
        fail("bind");
    if (connect(member->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) {
        close(member->fd);  /* no route, for a while */
        member->due = tick + 10;
        return;
    }
    watch(member, EPOLLOUT, EPOLL_CTL_ADD);
    member->state = CONNECTING;
    under_way++;
}

static void connected(struct member *member)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(member->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        drop(member);
        return;
    }
    watch(member, EPOLLIN, EPOLL_CTL_MOD);
    member->state = UPGRADING;
    if (is_websocket(member))
        send_bytes(member, request, sizeof request - 1);
    else
        send_sub(member);
}

static void is_bound(struct member *member)
{
    member->state = BOUND;
    under_way--;
    bound++;
    enter(BOUND_AGAIN, member->number, 0, 0);
    if (member->role == SLOW && !is_draining)
        watch(member, EPOLLRDHUP, EPOLL_CTL_MOD);
}

static void take_push(struct member *member, const unsigned char *body, size_t length, int message_id, uint32_t id)
{
    char digits[9] = "", *end;
    memcpy(digits, body, length < 8 ? length : 8);
    unsigned long number = strtoul(digits, &end, 16);
    if (end != digits + 8) {
        fault(member, "a push without number");
        return;
    }
    if (member->ids != (id != 0))
        fault(member, "a push id where none was asked for, or none");
    counts.pushes++;
    enter(PUSHED, member->number, (uint32_t)number, id);
    if (member->acks)
        send_message(member, PUB_ACK, message_id, "");
}

static void take_answer(struct member *member, int signal, int message_id, int is_right)
{
    int wanted = FIRST_MESSAGE_ID + (int)(member->answered % MESSAGE_IDS);
    int wanted_signal = member->kind == V0 || member->answered % 2 ? PING : PUB_ACK;
    if (member->answered >= member->asked || signal != wanted_signal || !is_right ||
        (member->kind != V0 && message_id != wanted)) {
        fault(member, "an answer to another question, or out of order");
        return;
    }
    counts.answered++;
    if (++member->answered == member->asked && member->asked_at) {
        uint64_t us = (now_ns() - member->asked_at) / 1000;
        if (us > counts.slowest_us[member->role])
            counts.slowest_us[member->role] = us;
    }
}

static void take_other(struct member *member, int signal, int message_id, const unsigned char *body, size_t length)
{
    if (signal == SUB && member->state == SUBSCRIBING && memmem(body, length, "200", 3))
        is_bound(member);
    else if (signal == DISCONNECT)
        member->said = (uint8_t)reason_in(body, length);
    else if (signal == PUB_ACK)
        take_answer(member, signal, message_id, member->kind == TEXT ? !!memmem(body, length, "240", 3) : length == 1 && *body == 0xf0);
    else if (signal == PING)
        take_answer(member, signal, message_id, !!memmem(body, length, "interval", 8));
    else if (member->state == BOUND)
        fault(member, "a message that nobody asked for");
}

static void take_packet(struct member *member, const unsigned char *bytes, size_t length)
{
    size_t header = member->kind == V0 ? 5 : member->kind == V1 ? 8 : 10, id_bytes = 0;
    int signal = bytes[member->kind == V0 ? 0 : 2] & 0x7f;
    int message_id = member->kind == V0 ? 0 : bytes[header - 2] << 8 | bytes[header - 1];
    const unsigned char *body = bytes + header;
    if (length < header)
        fault(member, "a packet shorter than its header");
    else if (signal != PUSH)
        take_other(member, signal, message_id, body, length - header);
    else if (member->ids && (length == header || (id_bytes = 1 + (size_t)*body) > length - header))
        fault(member, "a push shorter than its id");
    else
        take_push(member, body + id_bytes, length - header - id_bytes, message_id, id_bytes ? hash_of(body + 1, id_bytes - 1) : 0);
}

/* What follows `key` in a JSON text; NULL if it is not there. */
static const unsigned char *field(const unsigned char *body, size_t length, const char *key)
{
    const unsigned char *found = memmem(body, length, key, strlen(key));
    return found ? found + strlen(key) : NULL;
}

static void take_text(struct member *member, const unsigned char *body, size_t length)
{
    const unsigned char *end = body + length, *signal = field(body, length, "\"signal\":\""), *content, *id, *number;
    if (!signal || !(content = field(body, length, "\"content\":\"")) || !(number = field(body, length, "\"message_id\":"))) {
        fault(member, "a text message without signal, number or content");
        return;
    }
    int message_id = atoi((const char *)number);
    if (memcmp(signal, "PUSH\"", 5) == 0) {
        /* From the back: the id comes last. */
        const unsigned char *key = memrchr(body, ',', length);
        id = key && field(key, (size_t)(end - key), "\"push_id\":\"") ? key + 12 : NULL;
        take_push(member, content, (size_t)(end - content), message_id, id ? hash_of(id, (size_t)(end - id)) : 0);
        return;
    }
    int number_of = memcmp(signal, "SUB\"", 4) == 0 ? SUB : memcmp(signal, "PING\"", 5) == 0 ? PING
                    : memcmp(signal, "PUB_ACK\"", 8) == 0 ? PUB_ACK : memcmp(signal, "DISCONNECT\"", 11) == 0 ? DISCONNECT : 0;
    take_other(member, number_of, message_id, content, (size_t)(end - content));
}

static void take_message(struct member *member, const unsigned char *message, size_t header, size_t length)
{
    const unsigned char *body = message + header;
    if (!is_websocket(member))
        take_packet(member, message, length);
    else if (member->state == UPGRADING)
        memcmp(message, "HTTP/1.1 101", 12) == 0 ? send_sub(member) : (void)shutdown(member->fd, SHUT_RDWR);
    else if ((message[0] & 15) == 8)
        member->said = (uint8_t)(member->said ? member->said : reason_in(body, length - header));
    else if (message[0] != (member->kind == TEXT ? 0x81 : 0x82))
        fault(member, "a frame of another kind");
    else if (member->kind == TEXT)
        take_text(member, body, length - header);
    else
        take_packet(member, body, length - header);
}

/* Reads once, up to `most` bytes, and takes what is whole. */
static void receive(struct member *member, size_t most)
{
    static unsigned char bytes[PIECE_BYTES + READ_BYTES];
    size_t have = member->have, at = 0, header = 0, length;
    if (have)
        memcpy(bytes, member->piece, have);
    ssize_t got = recv(member->fd, bytes + have, most, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        drop(member);
        return;
    }
    have += (size_t)got;
    while (at < have && (length = message_bytes(member, bytes + at, have - at, &header))) {
        take_message(member, bytes + at, header, length);
        at += length;
    }
    size_t left = have - at;
    if (left > PIECE_BYTES)
        fail("a message without end");
    if (left > member->have || !left) {
        free(member->piece);
        member->piece = left ? malloc(left) : NULL;
    }
    if (left)
        memcpy(member->piece, bytes + at, left);
    member->have = (uint32_t)left;
}

/* The next third of a busy client's packet; the first cut is somewhere in or near the header. */
static void write_piece(struct member *member)
{
    unsigned char buffer[OUTGOING_BYTES];
    size_t length, cut;
    int is_ping = member->kind == V0 || member->asked % 2;
    const unsigned char *start = put_message(member, buffer, is_ping ? PING : PUBLISH, FIRST_MESSAGE_ID + (int)(member->asked % MESSAGE_IDS),
                                             is_ping ? "{\"interval\":300}" : "{}", ASKED_BYTES, &length);
    cut = 1 + member->number % 40;
    const size_t cuts[PIECES + 1] = {0, cut, length / 2, length};
    int piece = member->piece_number;
    if (!send_bytes(member, start + cuts[piece], cuts[piece + 1] - cuts[piece]))
        return;
    member->piece_number = (uint8_t)((piece + 1) % PIECES);
    if (member->piece_number)
        return;
    member->asked_at = member->asked == member->answered ? now_ns() : 0;
    member->asked++;
    counts.asked++;
}

static void serve(struct member *member, uint32_t events)
{
    if (member->state == CONNECTING)
        connected(member);
    else if (member->state == BOUND && member->role == SLOW && !(events & EPOLLIN))
        watch(member, EPOLLIN, EPOLL_CTL_MOD);  /* its end has come, or is behind what it has not read */
    else if (member->state != WAITING && events)
        receive(member, READ_BYTES);
}

/* What the clients do by themselves. */
static void take_tick(void)
{
    tick++;
    for (uint32_t i = 0; i < opened; i++) {
        struct member *member = &members[i];
        if (member->state == WAITING && member->due <= tick && under_way < window)
            connect_member(member);
        if (member->state != BOUND)
            continue;
        if (member->role == BUSY && (member->piece_number || (is_busy && (tick + i) % busy_ticks == 0)))
            write_piece(member);
        else if (member->role == SLOW && !is_draining && (tick + i) % TICKS_PER_S == 0)
            receive(member, slow_bytes);
    }
}

static void drain(void)
{
    is_draining = 1;
    for (uint32_t i = 0; i < opened; i++)
        if (members[i].state == BOUND && members[i].role == SLOW)
            watch(&members[i], EPOLLIN, EPOLL_CTL_MOD);
}

static void quit(void)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};  /* no TIME_WAIT for the next run to meet */
    for (uint32_t i = 0; i < opened; i++)
        if (members[i].fd >= 0) {
            setsockopt(members[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(members[i].fd);
        }
    exit(0);
}

static void command(char *line)
{
    uint32_t client;
    if (sscanf(line, "open %u", &window) == 1) {
        opening = 1;
    } else if (sscanf(line, "busy %d", &is_busy) == 1) {
        say("{}");
    } else if (sscanf(line, "hurry %u", &client) == 1) {
        if (client - first < opened && members[client - first].state == BOUND)
            watch(&members[client - first], EPOLLIN, EPOLL_CTL_MOD);
    } else if (strcmp(line, "drain") == 0) {
        drain();
        say("{}");
    } else if (strcmp(line, "stats") == 0) {
        fflush(ledger);
        say("{\"bound\": %u, \"pushes\": %lu, \"asked\": %lu, \"answered\": %lu, \"unanswered\": %lu, \"lost\": %lu, \"refused\": %lu, "
            "\"rejected\": %lu, \"faults\": %lu, \"last_fault\": \"%s\", \"slowest_answer_us\": %lu, \"cpu_us\": %lu}",
            bound, counts.pushes, counts.asked, counts.answered, counts.unanswered, counts.lost, counts.refused, counts.rejected,
            counts.faults, last_fault, counts.slowest_us[BUSY], cpu_us());
    } else if (strcmp(line, "quit") == 0) {
        quit();
    } else {
        say("{\"error\": \"unknown command\"}");
    }
}

static void address(struct sockaddr_in *where, const char *host, int port)
{
    where->sin_family = AF_INET;
    where->sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &where->sin_addr) != 1) {
        fprintf(stderr, "%s is not an IPv4 address\n", host);
        exit(2);
    }
}

static void set_up(char **argv)
{
    raise_descriptor_limit();
    address(&server, argv[1], atoi(argv[2]));
    address(&source, argv[3], 0);
    first = (uint32_t)atol(argv[4]);
    count = (uint32_t)atol(argv[5]);
    open_ledger(argv[6]);
    slow_bytes = (uint64_t)atol(argv[7]);
    busy_ticks = (uint64_t)atol(argv[8]) * 1000000 / TICK_NS;
    members = calloc(count, sizeof *members);
    if (!members || slow_bytes > READ_BYTES || busy_ticks < PIECES)
        fail("arguments");
    for (uint32_t i = 0; i < count; i++)
        become(&members[i], first + i);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input) != 0)
        fail("epoll");
    next_tick = now_ns() + TICK_NS;
}

/* Ticks that are due, and the milliseconds to the next one. A late process makes up for no more than a few. */
static int take_ticks(void)
{
    uint64_t now = now_ns();
    while (now >= next_tick) {
        take_tick();
        next_tick = now > next_tick + 10 * TICK_NS ? now + TICK_NS : next_tick + TICK_NS;
    }
    return (int)((next_tick - now) / 1000000) + 1;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc < 9) {
        fprintf(stderr, "usage: clients HOST PORT SOURCE FIRST COUNT LEDGER SLOW_BYTES BUSY_MS\n");
        return 2;
    }
    set_up(argv);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, take_ticks());
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 != UINT32_MAX)
                serve(&members[events[i].data.u32], events[i].events);
            else if (!read_lines(command))
                return 0;
        }
        while (opening && opened < count && under_way < window)
            connect_member(&members[opened++]);
        if (opening && bound == count) {
            opening = 0;
            say("{\"bound\": %u}", bound);
        }
    }
}
