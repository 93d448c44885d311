/* Frames: sync, length, type, sequence, payload, CRC. See PROTOCOL.md. */
#ifndef FRAME_H
#define FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_LONGEST_PAYLOAD 64u
#define FRAME_OVERHEAD 7u
#define FRAME_LONGEST (FRAME_LONGEST_PAYLOAD + FRAME_OVERHEAD)

struct frame {
    uint8_t type;
    uint8_t sequence;
    uint8_t length;
    uint8_t const *payload;
};

struct frame_parser {
    uint8_t bytes[FRAME_LONGEST];
    uint8_t filled;
    uint16_t wrong_crcs;
    uint16_t wrong_lengths; /* or cut off */
    uint16_t skipped;
};

void frame_parser_init(struct frame_parser *parser);

/* Add a byte; there is room for it where frame_next was called until it was false. */
void frame_add(struct frame_parser *parser, uint8_t byte);

/* The next whole frame; it is valid until frame_done. */
bool frame_next(struct frame_parser *parser, struct frame *frame);
void frame_done(struct frame_parser *parser);

/* No byte has come for long: what has begun will not end. Call frame_next after it, and this again until it is false. */
bool frame_cut_off(struct frame_parser *parser, bool first);

/* Send a frame; the serial line must have room. */
void frame_send(uint8_t type, uint8_t sequence, uint8_t const *payload, uint8_t length);

#endif
