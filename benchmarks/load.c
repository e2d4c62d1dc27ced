/* The load generator: N clients in one epoll set, compiled so that it is never the bottleneck.
 *
 *   load HOST PORT PROTOCOL PREFIX FIRST [SOURCE]
 *
 * PROTOCOL is `text` (WebSocket, JSON) or `packets` (binary packets, version 2). Client i says SUB with
 * token PREFIX followed by FIRST+i. SOURCE is the address to connect from: one address reaches one port
 * with 28,000 connections. Commands on stdin, one line of JSON on stdout for each:
 *
 *   open N WINDOW   N more clients, at most WINDOW of them on their way; answered when all are bound
 *   stats           counts since the start or the last reset
 *   reset           clears counts, latencies and sequence numbers
 *   latency         percentiles of the pushes whose payload begins with `t`, 16 hex digits (CLOCK_MONOTONIC ns)
 *   quit            resets every connection and ends
 *
 * Payloads that go on with `s` and 8 hex digits carry a sequence number per client: it must grow by one.
 */
#define _GNU_SOURCE
#include "arrivals.h"
#include "lines.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define READ_BYTES 65536
#define PIECE_BYTES (4 << 20)  /* more than this without a whole frame is an error */
#define EVENTS 1024

enum state { CONNECTING, UPGRADING, SUBSCRIBING, BOUND, CLOSED };

struct client {
    int fd;
    enum state state;
    uint32_t sequence;
    uint32_t have;        /* bytes of an unfinished frame in `piece` */
    unsigned char *piece;
};

static struct sockaddr_in server, source;
static const char *prefix;
static int text, poller;
static long first;
static struct client *clients;
static long made, wanted, window, under_way, bound, failed, lost;
static uint64_t open_since;
static char last_other[200];

static void say_opened(void)
{
    if (open_since && bound + failed + lost >= wanted) {
        say("{\"connections\": %ld, \"failed\": %ld, \"lost\": %ld, \"ms\": %.1f}", bound, failed, lost,
            (double)(now_ns() - open_since) / 1e6);
        open_since = 0;
    }
}

static void close_client(struct client *client)
{
    if (client->state == BOUND) {
        bound--;
        lost++;
    } else {
        failed++;
        under_way--;
    }
    close(client->fd);
    free(client->piece);
    client->piece = NULL;
    client->have = 0;
    client->state = CLOSED;
}

static void send_bytes(struct client *client, const void *bytes, size_t count)
{
    if (send(client->fd, bytes, count, MSG_NOSIGNAL) != (ssize_t)count)
        shutdown(client->fd, SHUT_RDWR);
}

/* A masked WebSocket frame of less than 65,536 bytes. */
static void send_frame(struct client *client, int opcode, const char *body, size_t length)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char frame[1024];
    size_t at = 0;
    if (length > sizeof frame - 8)
        return;
    frame[at++] = (unsigned char)(0x80 | opcode);
    if (length < 126) {
        frame[at++] = (unsigned char)(0x80 | length);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(length >> 8);
        frame[at++] = (unsigned char)length;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++)
        frame[at++] = (unsigned char)body[i] ^ mask[i & 3];
    send_bytes(client, frame, at);
}

static void send_sub(struct client *client)
{
    char body[512];
    long number = first + (client - clients);
    client->state = SUBSCRIBING;
    if (text) {
        int length = snprintf(body, sizeof body, "{\"signal\":\"SUB\",\"sub_signal\":\"NONE\",\"message_id\":0,\"content\":{\"token\":\"%s%ld\"}}", prefix, number);
        send_frame(client, 1, body, (size_t)length);
        return;
    }
    int length = snprintf(body + 10, sizeof body - 10, "{\"token\":\"%s%ld\"}", prefix, number);
    const unsigned char header[10] = {0xf8, 2, 1, 0, 0, (unsigned char)(length >> 8), (unsigned char)length, 0, 0, 0};
    memcpy(body, header, sizeof header);
    send_bytes(client, body, (size_t)length + 10);
}

static void send_upgrade(struct client *client)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client->state = UPGRADING;
    send_bytes(client, request, sizeof request - 1);
}

static void open_client(struct client *client)
{
    const int yes = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(client->fd, (struct sockaddr *)&source, sizeof source) != 0)
        fail("bind");
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS)
        fail("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)(client - clients)};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event) != 0)
        fail("epoll_ctl");
    client->state = CONNECTING;
    under_way++;
}

static void open_more(void)
{
    while (made < wanted && under_way < window)
        open_client(&clients[made++]);
}

static void take_other(struct client *client, const unsigned char *body, size_t length)
{
    const char *status = memmem(body, length, "status", 6), *end = (const char *)body + length;
    if (client->state == SUBSCRIBING && status) {
        while (status < end && (*status < '0' || *status > '9'))
            status++;
        if (end - status >= 3 && memcmp(status, "200", 3) == 0) {
            client->state = BOUND;
            under_way--;
            bound++;
            return;
        }
        shutdown(client->fd, SHUT_RDWR);
    }
    counts.others++;
    size_t kept = length < sizeof last_other - 1 ? length : sizeof last_other - 1;
    for (size_t i = 0; i < kept; i++)
        last_other[i] = body[i] < ' ' || body[i] > '~' || body[i] == '"' || body[i] == '\\' ? '.' : (char)body[i];
    last_other[kept] = 0;
}

/* One message: JSON with the payload in `content`, or (from the floor) the payload itself. */
static void take_text(struct client *client, const unsigned char *body, size_t length)
{
    if (length == 0 || body[0] != '{') {
        take_payload(&client->sequence, body, length);
        return;
    }
    const unsigned char *content = memmem(body, length, "\"content\":", 10);
    if (!content || !memmem(body, length, "\"PUSH\"", 6)) {
        take_other(client, body, length);
        return;
    }
    content += 10;
    while (content < body + length && (*content == ' ' || *content == '"'))
        content++;
    take_payload(&client->sequence, content, (size_t)(body + length - content));
}

/* Bytes of the frame or packet at `bytes`, or 0 while its header is unfinished. */
static size_t frame_bytes(const struct client *client, const unsigned char *bytes, size_t have, size_t *header)
{
    if (!text) {
        *header = 10;
        return have < 7 ? 0 : 10 + (((size_t)bytes[3] << 24) | ((size_t)bytes[4] << 16) | ((size_t)bytes[5] << 8) | bytes[6]);
    }
    if (client->state == UPGRADING) {
        const unsigned char *end = memmem(bytes, have, "\r\n\r\n", 4);
        *header = end ? (size_t)(end - bytes) + 4 : 0;
        return *header;
    }
    if (have < 4)
        return have >= 2 && bytes[1] < 126 ? (*header = 2) + bytes[1] : 0;
    *header = bytes[1] < 126 ? 2 : bytes[1] == 126 ? 4 : 10;
    if (*header == 2)
        return 2 + (size_t)bytes[1];
    if (*header == 4)
        return 4 + ((size_t)bytes[2] << 8 | bytes[3]);
    if (have < 10)
        return 0;
    size_t length = 0;
    for (int i = 2; i < 10; i++)
        length = length << 8 | bytes[i];
    return 10 + length;
}

static void take_frame(struct client *client, const unsigned char *frame, size_t header, size_t length)
{
    const unsigned char *body = frame + header;
    size_t body_bytes = length - header;
    if (!text) {
        if ((frame[2] & 0x7f) == 4)
            take_payload(&client->sequence, body, body_bytes);
        else
            take_other(client, body, body_bytes);
    } else if (client->state == UPGRADING) {
        if (length > 12 && memcmp(frame, "HTTP/1.1 101", 12) == 0)
            send_sub(client);
        else
            shutdown(client->fd, SHUT_RDWR);
    } else if ((frame[0] & 15) == 9) {
        send_frame(client, 10, (const char *)body, body_bytes);
    } else if ((frame[0] & 15) == 8) {
        take_other(client, (const unsigned char *)"close", 5);
        shutdown(client->fd, SHUT_RDWR);
    } else {
        take_text(client, body, body_bytes);
    }
}

/* Takes the whole frames in `bytes`; returns how many bytes they were. */
static size_t take_frames(struct client *client, const unsigned char *bytes, size_t have)
{
    size_t at = 0, header = 0, length;
    while (at < have && (length = frame_bytes(client, bytes + at, have - at, &header)) && length <= have - at) {
        take_frame(client, bytes + at, header, length);
        at += length;
    }
    return at;
}

static void receive(struct client *client)
{
    static unsigned char bytes[PIECE_BYTES + READ_BYTES];
    size_t have = client->have;
    if (have)
        memcpy(bytes, client->piece, have);
    ssize_t got = recv(client->fd, bytes + have, READ_BYTES, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close_client(client);
        return;
    }
    counts.bytes += (uint64_t)got;
    have += (size_t)got;
    size_t taken = take_frames(client, bytes, have), left = have - taken;
    if (left > PIECE_BYTES) {
        close_client(client);
        return;
    }
    free(client->piece);
    client->piece = NULL;
    client->have = (uint32_t)left;
    if (left) {
        client->piece = malloc(left);
        if (!client->piece)
            fail("malloc");
        memcpy(client->piece, bytes + taken, left);
    }
}

static void serve(struct client *client)
{
    if (client->state == CLOSED)
        return;
    if (client->state != CONNECTING) {
        receive(client);
        return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        close_client(client);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)(client - clients)};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event) != 0)
        fail("epoll_ctl");
    if (text)
        send_upgrade(client);
    else
        send_sub(client);
}

static void quit(void)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};  /* no TIME_WAIT for the next run to meet */
    for (long i = 0; i < made; i++)
        if (clients[i].state != CLOSED) {
            setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(clients[i].fd);
        }
    say("{\"closed\": %ld}", made);
    exit(0);
}

static void command(char *line)
{
    long more, most;
    if (sscanf(line, "open %ld %ld", &more, &most) == 2) {
        wanted = made + more;
        window = most;
        clients = realloc(clients, (size_t)wanted * sizeof *clients);
        if (!clients)
            fail("realloc");
        memset(clients + made, 0, (size_t)more * sizeof *clients);
        open_since = now_ns();
    } else if (strcmp(line, "stats") == 0) {
        say("{\"connections\": %ld, \"failed\": %ld, \"lost\": %ld, \"frames\": %lu, \"bytes\": %lu, \"sequenced\": %lu, "
            "\"gaps\": %lu, \"others\": %lu, \"last_other\": \"%s\", \"cpu_us\": %lu}",
            bound, failed, lost, counts.frames, counts.bytes, counts.sequenced, counts.gaps, counts.others, last_other, cpu_us());
    } else if (strcmp(line, "reset") == 0) {
        memset(&counts, 0, sizeof counts);
        memset(&latency, 0, sizeof latency);
        for (long i = 0; i < made; i++)
            clients[i].sequence = 0;
        say("{}");
    } else if (strcmp(line, "latency") == 0) {
        say("{\"count\": %lu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %lu}",
            latency.total, percentile(.5), percentile(.9), percentile(.99), percentile(.999), latency.most_us);
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

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: load HOST PORT text|packets PREFIX FIRST [SOURCE]\n");
        return 2;
    }
    raise_descriptor_limit();
    address(&server, argv[1], atoi(argv[2]));
    address(&source, argc > 6 ? argv[6] : "127.0.0.1", 0);
    text = strcmp(argv[3], "text") == 0;
    prefix = argv[4];
    first = atol(argv[5]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS], input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input) != 0)
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u32 != UINT32_MAX)
                serve(&clients[events[i].data.u32]);
            else if (!read_lines(command))
                return 0;
        }
        open_more();
        say_opened();
    }
}
