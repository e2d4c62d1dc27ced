/* Who a client is, and what its messages look like. The rules for roles and kinds are also in chaos/roles.py. */
#ifndef MEMBERS_H
#define MEMBERS_H

#include "ledger.h"

enum kind { V0, V1, V2, TEXT, BINARY };
enum role { BUSY, SLOW, IDLE };
enum state { WAITING, CONNECTING, UPGRADING, SUBSCRIBING, BOUND };
enum signal { SUB = 1, PING = 3, PUSH = 4, DISCONNECT = 8, PUBLISH = 9, PUB_ACK = 10 };

#define ASKED_BYTES 4096       /* of a busy client's packet */
#define FIRST_MESSAGE_ID 10000 /* five digits each, so that JSON texts have one length */
#define MESSAGE_IDS 50000
#define OUTGOING_BYTES (ASKED_BYTES + 512)

struct member {
    int fd;
    uint32_t number;
    uint8_t kind, role, state, said;  /* said: reason of its end, as the server told it */
    uint8_t ids, acks, piece_number, bound_before;
    uint32_t asked, answered;         /* on this connection */
    uint64_t due, asked_at;           /* next attempt to connect; when the last packet was complete */
    uint32_t have;
    unsigned char *piece;             /* input without an end yet */
};

static inline int kind_of(uint32_t number)
{
    static const uint8_t kinds[20] = {TEXT, V2, TEXT, V2, TEXT, V2, TEXT, V0, TEXT, V2,
                                      BINARY, V2, TEXT, V2, TEXT, V1, TEXT, V2, TEXT, V2};
    return kinds[number / 5 % 20];
}

static inline void become(struct member *member, uint32_t number)
{
    member->number = number;
    member->kind = (uint8_t)kind_of(number);
    member->role = number % 5 == 0 ? BUSY : number % 5 == 1 ? SLOW : IDLE;
    member->ids = number % 3 == 0 && member->kind != V0;
    member->acks = number % 7 == 3 && member->kind != V0 && member->role == IDLE;  /* a busy one's would come amid its packets */
    member->state = WAITING;
    member->fd = -1;
}

static inline int is_websocket(const struct member *member)
{
    return member->kind >= TEXT;
}

/* A packet of the member's binary version (WebSocket binary: version 2); its length. */
static inline size_t put_packet(int kind, unsigned char *to, int signal, int sub_signal, int id, const char *body, size_t length)
{
    size_t at = 0;
    if (kind == V0) {
        to[at++] = (unsigned char)signal;
    } else {
        to[at++] = 0xf8;
        to[at++] = kind == V1 ? 1 : 2;
        to[at++] = (unsigned char)signal;
    }
    for (int shift = kind == V1 ? 8 : 24; shift >= 0; shift -= 8)
        to[at++] = (unsigned char)(length >> shift);
    if (kind != V0) {
        to[at++] = (unsigned char)sub_signal;
        to[at++] = (unsigned char)(id >> 8);
        to[at++] = (unsigned char)id;
    }
    memcpy(to + at, body, length);
    return at + length;
}

/* Turns `length` bytes at to + 8 into a masked frame; its first byte is at the pointer that is returned. */
static inline unsigned char *put_frame(unsigned char *to, int opcode, size_t length, size_t *whole)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char *start = to + (length < 126 ? 2 : 0);
    start[0] = (unsigned char)(0x80 | opcode);
    start[1] = (unsigned char)(0x80 | (length < 126 ? length : 126));
    if (length >= 126) {
        start[2] = (unsigned char)(length >> 8);
        start[3] = (unsigned char)length;
    }
    memcpy(to + 4, mask, 4);
    for (size_t i = 0; i < length; i++)
        to[8 + i] ^= mask[i & 3];
    *whole = length + (size_t)(to + 8 - start);
    return start;
}

/* A message in the member's own form. `json` is its content; `pad` more bytes make it long. */
static inline unsigned char *put_message(const struct member *member, unsigned char *to, int signal, int id,
                                         const char *json, size_t pad, size_t *length)
{
    static char body[OUTGOING_BYTES];
    static const char *const names[] = {[SUB] = "SUB", [PING] = "PING", [PUBLISH] = "PUBLISH", [PUB_ACK] = "PUB_ACK"};
    const char *topic = signal == PUBLISH ? "GQ" : "NONE";
    size_t size = strlen(json), text_size;
    memcpy(body, json, size);
    if (pad) {  /* the object, with a long field in front of its end */
        size += (size_t)snprintf(body + size - 1, 32, "%s\"pad\":\"", size > 2 ? "," : "") - 1;
        memset(body + size, '.', pad);
        memcpy(body + size + pad, "\"}", 2);
        size += pad + 2;
    }
    if (member->kind == TEXT) {
        text_size = (size_t)sprintf((char *)to + 8, "{\"signal\":\"%s\",\"sub_signal\":\"%s\",\"message_id\":%d%s", names[signal],
                                    topic, id, size ? ",\"content\":" : "");
        memcpy(to + 8 + text_size, body, size);
        to[8 + text_size + size] = '}';
        return put_frame(to, 1, text_size + size + 1, length);
    }
    int with_frame = member->kind == BINARY;
    size = put_packet(member->kind, to + 8, signal, signal == PUBLISH ? 26 : 0, id, body, size);
    if (with_frame)
        return put_frame(to, 2, size, length);
    *length = size;
    return to + 8;
}

/* Bytes of the whole message at `bytes` and where its body begins; 0 while it is unfinished. */
static inline size_t message_bytes(const struct member *member, const unsigned char *bytes, size_t have, size_t *header)
{
    static const uint8_t headers[] = {[V0] = 5, [V1] = 8, [V2] = 10}, length_at[] = {[V0] = 1, [V1] = 3, [V2] = 3};
    size_t length = 0, digits, at;
    if (member->state == UPGRADING) {
        const unsigned char *end = memmem(bytes, have, "\r\n\r\n", 4);
        return *header = end ? (size_t)(end - bytes) + 4 : 0;
    }
    if (is_websocket(member)) {
        if (have < 2)
            return 0;
        digits = bytes[1] < 126 ? 0 : bytes[1] == 126 ? 2 : 8;
        length = digits ? 0 : bytes[1];
        at = 2;
        *header = 2 + digits;
    } else {
        at = length_at[member->kind];
        digits = member->kind == V1 ? 2 : 4;
        *header = headers[member->kind];
    }
    if (have < *header)
        return 0;
    for (size_t i = 0; i < digits; i++)
        length = length << 8 | bytes[at + i];
    return have < *header + length ? 0 : *header + length;
}

#endif
