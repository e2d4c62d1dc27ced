/* The floor: what the kernel alone charges for the gateway's work. One process, one send() per push.
 *
 *   floor PORT REQUEST_PORT       (0: any free one; the first line on stdout says which)
 *
 * It accepts WebSocket clients on PORT, answers `GET` with 101 and the next message with a SUB answer,
 * and checks nothing. A push is a frame of a payload of 128 bytes. Commands on stdin, one line of JSON on
 * stdout for each:
 *
 *   push M      M pushes, each to one random connection, as fast as it can
 *   all K       K pushes to every connection
 *   stats       connections
 *   quit
 *
 * On REQUEST_PORT it takes push requests over TCP, each a u32 connection number, a u16 length
 * (big-endian) and the payload, and sends each on at once: the floor for latency.
 */
#define _GNU_SOURCE
#include "lines.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define MOST 20000
#define PAYLOAD_BYTES 128
#define EVENTS 1024
#define CLIENTS 0xfffffffdu
#define REQUESTS 0xfffffffeu
#define INPUT 0xffffffffu

static int fds[MOST], requester = -1, poller, client_listener, request_listener;
static uint32_t connections;
static uint64_t retries;

static void watch(int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static int listen_on(int port)
{
    const int yes = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof where) != 0 || listen(fd, 4096) != 0)
        fail("listen");
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_in where;
    socklen_t size = sizeof where;
    if (getsockname(fd, (struct sockaddr *)&where, &size) != 0)
        fail("getsockname");
    return ntohs(where.sin_port);
}

/* One whole frame out; waits where the client's socket is full. */
static void send_whole(int fd, const unsigned char *bytes, size_t count)
{
    while (count) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            count -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd full = {.fd = fd, .events = POLLOUT};
            retries++;
            poll(&full, 1, 1000);
        } else {
            fail("send");
        }
    }
}

static size_t make_frame(unsigned char *frame, const unsigned char *payload, size_t length)
{
    size_t header = length < 126 ? 2 : 4;
    frame[0] = 0x81;
    frame[1] = (unsigned char)(length < 126 ? length : 126);
    if (header == 4) {
        frame[2] = (unsigned char)(length >> 8);
        frame[3] = (unsigned char)length;
    }
    memcpy(frame + header, payload, length);
    return header + length;
}

static void push(uint64_t pushes, int to_all)
{
    unsigned char payload[PAYLOAD_BYTES], frame[PAYLOAD_BYTES + 4];
    memset(payload, 'x', sizeof payload);
    uint64_t since = now_ns(), cpu = cpu_us(), before = retries, copies = to_all ? pushes * connections : pushes;
    for (uint64_t i = 0; i < copies && connections; i++) {
        size_t length = make_frame(frame, payload, sizeof payload);
        send_whole(fds[to_all ? i % connections : random64() % connections], frame, length);
    }
    say("{\"pushes\": %lu, \"cpu_us\": %lu, \"wall_us\": %lu, \"retries\": %lu}", copies, cpu_us() - cpu,
        (now_ns() - since) / 1000, retries - before);
}

static void accept_clients(void)
{
    const int yes = 1;
    int fd;
    while ((fd = accept4(client_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (connections == MOST) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(fd, connections);
        fds[connections++] = fd;
    }
}

static void accept_requester(void)
{
    const int yes = 1;
    if (requester >= 0)
        close(requester);
    requester = accept4(request_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (requester < 0)
        return;
    setsockopt(requester, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(requester, MOST);
}

static void serve_client(int fd)
{
    static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static const char answer[] = "{\"signal\":\"SUB\",\"content\":\"{\\\"status\\\":200}\"}";
    unsigned char bytes[4096];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);  /* its number stays: pushes go on being counted */
        return;
    }
    if (bytes[0] == 'G') {
        send_whole(fd, (const unsigned char *)upgraded, sizeof upgraded - 1);
    } else {
        size_t length = make_frame(bytes, (const unsigned char *)answer, sizeof answer - 1);
        send_whole(fd, bytes, length);
    }
}

static void serve_requester(void)
{
    static unsigned char bytes[65536];
    static size_t have;
    unsigned char frame[1024];
    ssize_t got = recv(requester, bytes + have, sizeof bytes - have, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN)
            return;
        close(requester);
        requester = -1;
        have = 0;
        return;
    }
    have += (size_t)got;
    size_t at = 0;
    while (have - at >= 6) {
        uint32_t number = (uint32_t)bytes[at] << 24 | (uint32_t)bytes[at + 1] << 16 | (uint32_t)bytes[at + 2] << 8 | bytes[at + 3];
        size_t length = (size_t)bytes[at + 4] << 8 | bytes[at + 5];
        if (have - at - 6 < length)
            break;
        if (length <= sizeof frame - 4 && number < connections)
            send_whole(fds[number], frame, make_frame(frame, bytes + at + 6, length));
        at += 6 + length;
    }
    have -= at;
    memmove(bytes, bytes + at, have);
}

static void command(char *line)
{
    unsigned long count;
    if (sscanf(line, "push %lu", &count) == 1)
        push(count, 0);
    else if (sscanf(line, "all %lu", &count) == 1)
        push(count, 1);
    else if (strcmp(line, "stats") == 0)
        say("{\"connections\": %u, \"cpu_us\": %lu}", connections, cpu_us());
    else if (strcmp(line, "quit") == 0)
        exit(0);
    else
        say("{\"error\": \"unknown command\"}");
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: floor PORT REQUEST_PORT\n");
        return 2;
    }
    raise_descriptor_limit();
    poller = epoll_create1(EPOLL_CLOEXEC);
    client_listener = listen_on(atoi(argv[1]));
    request_listener = listen_on(atoi(argv[2]));
    watch(0, INPUT);
    watch(client_listener, CLIENTS);
    watch(request_listener, REQUESTS);
    say("{\"port\": %d, \"request_port\": %d}", port_of(client_listener), port_of(request_listener));
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            uint32_t number = events[i].data.u32;
            if (number == INPUT && !read_lines(command))
                return 0;
            else if (number == CLIENTS)
                accept_clients();
            else if (number == REQUESTS)
                accept_requester();
            else if (number == MOST)
                serve_requester();
            else if (number < MOST)
                serve_client(fds[number]);
        }
    }
}
