#include "frame.h"

#include <string.h>

#include "crc16.h"
#include "serial.h"
#include "wire.h"

#define SYNC_0 0xEDu
#define SYNC_1 0xF1u

enum { OFFSET_LENGTH = 2, OFFSET_TYPE, OFFSET_SEQUENCE, OFFSET_PAYLOAD };

void frame_parser_init(struct frame_parser *parser)
{
    memset(parser, 0, sizeof *parser);
}

void frame_add(struct frame_parser *parser, uint8_t byte)
{
    parser->bytes[parser->filled++] = byte;
}

static void drop(struct frame_parser *parser, uint8_t count)
{
    parser->filled = (uint8_t)(parser->filled - count);
    memmove(parser->bytes, parser->bytes + count, parser->filled);
}

/* Drop the first byte, which begins no frame, and what follows it up to where a frame might begin. */
static void skip(struct frame_parser *parser)
{
    uint8_t count = 1;
    while (count < parser->filled && parser->bytes[count] != SYNC_0)
        count++;
    count_up(&parser->skipped, count);
    drop(parser, count);
}

static bool crc_fits(uint8_t const *bytes, uint8_t total)
{
    uint16_t crc = CRC16_START;
    for (uint8_t i = OFFSET_LENGTH; i < total - 2; i++)
        crc = crc16_add(crc, bytes[i]);
    return crc == wire_read_u16(bytes + total - 2);
}

bool frame_next(struct frame_parser *parser, struct frame *frame)
{
    uint8_t const *const bytes = parser->bytes;
    while (parser->filled > 0) {
        if (bytes[0] != SYNC_0) {
            skip(parser);
            continue;
        }
        if (parser->filled == 1)
            return false;
        if (bytes[1] != SYNC_1) {
            skip(parser);
            continue;
        }
        if (parser->filled == OFFSET_LENGTH)
            return false;
        uint8_t const length = bytes[OFFSET_LENGTH];
        if (length > FRAME_LONGEST_PAYLOAD) {
            count_up(&parser->wrong_lengths, 1);
            skip(parser);
            continue;
        }
        uint8_t const total = (uint8_t)(length + FRAME_OVERHEAD);
        if (parser->filled < total)
            return false;
        if (!crc_fits(bytes, total)) {
            count_up(&parser->wrong_crcs, 1);
            skip(parser);
            continue;
        }
        frame->type = bytes[OFFSET_TYPE];
        frame->sequence = bytes[OFFSET_SEQUENCE];
        frame->length = length;
        frame->payload = bytes + OFFSET_PAYLOAD;
        return true;
    }
    return false;
}

void frame_done(struct frame_parser *parser)
{
    drop(parser, (uint8_t)(parser->bytes[OFFSET_LENGTH] + FRAME_OVERHEAD));
}

bool frame_cut_off(struct frame_parser *parser, bool first)
{
    if (parser->filled == 0)
        return false;
    if (first)
        count_up(&parser->wrong_lengths, 1);
    skip(parser);
    return true;
}

static uint16_t send_byte(uint16_t crc, uint8_t byte)
{
    serial_write(byte);
    return crc16_add(crc, byte);
}

void frame_send(uint8_t type, uint8_t sequence, uint8_t const *payload, uint8_t length)
{
    serial_write(SYNC_0);
    serial_write(SYNC_1);
    uint16_t crc = send_byte(CRC16_START, length);
    crc = send_byte(crc, type);
    crc = send_byte(crc, sequence);
    for (uint8_t i = 0; i < length; i++)
        crc = send_byte(crc, payload[i]);
    serial_write((uint8_t)crc);
    serial_write((uint8_t)(crc >> 8));
}
