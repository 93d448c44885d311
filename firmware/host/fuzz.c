/* A million inputs for everything behind the serial line: random bytes, requests with random and with sensible payloads,
 * and damaged ones, with ticks between them; address and undefined-behaviour sanitizers watch. The same inputs each time.
 *
 * After every thousand a whole request must still be answered, and what the device sends must be frames. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc16.h"
#include "device.h"
#include "frame.h"
#include "hal_host.h"
#include "serial.h"
#include "wire.h"

#define MILLISECOND 2000u

static uint64_t state = 0x9E3779B97F4A7C15u;
static struct frame_parser sent;
static uint32_t frames_sent, replies, refusals;
static bool answered;
static uint8_t awaited;

static uint32_t random_below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % limit;
}

static void fail(char const *what, uint32_t input)
{
    fprintf(stderr, "input %" PRIu32 ": %s\n", input, what);
    exit(1);
}

static void read_sent(uint32_t input)
{
    uint8_t bytes[256];
    uint32_t const count = host_take_sent(bytes, sizeof bytes);
    for (uint32_t i = 0; i < count; i++) {
        struct frame frame;
        frame_add(&sent, bytes[i]);
        while (frame_next(&sent, &frame)) {
            frames_sent++;
            replies += frame.type < 0xC0;
            refusals += frame.type == 0xFF;
            answered |= frame.type == 0x81 && frame.sequence == awaited;
            frame_done(&sent);
        }
    }
    if (sent.skipped || sent.wrong_crcs || sent.wrong_lengths)
        fail("the device sent something that is no frame", input);
}

static void give(uint8_t const *bytes, uint32_t count, uint32_t input)
{
    for (uint32_t i = 0; i < count; i++) {
        serial_on_received(bytes[i]);
        if (i % 64 == 63) {
            device_poll();
            read_sent(input);
        }
    }
    device_poll();
    read_sent(input);
}

static uint32_t encode(uint8_t *to, uint8_t type, uint8_t sequence, uint8_t const *payload, uint8_t length)
{
    uint8_t *const end = to + 5 + length;
    to[0] = 0xED;
    to[1] = 0xF1;
    to[2] = length;
    to[3] = type;
    to[4] = sequence;
    memcpy(to + 5, payload, length);
    uint16_t crc = CRC16_START;
    for (uint8_t *byte = to + 2; byte < end; byte++)
        crc = crc16_add(crc, *byte);
    wire_write_u16(end, crc);
    return length + FRAME_OVERHEAD;
}

/* A payload that has a chance of being accepted. */
static uint8_t sensible_payload(uint8_t type, uint8_t *to)
{
    static uint16_t crc, points, given;
    switch (type) {
    case 0x02: {
        uint8_t *at = wire_write_u8(to, (uint8_t)random_below(3));
        at = wire_write_u8(at, (uint8_t)random_below(4));
        at = wire_write_u16(at, (uint16_t)random_below(100));
        at = wire_write_u16(at, (uint16_t)(200 + random_below(29801)));
        at = wire_write_u16(at, (uint16_t)(100 + random_below(100)));
        at = wire_write_u16(at, (uint16_t)(100 + random_below(2000)));
        at = wire_write_u16(at, (uint16_t)(1000 + random_below(6001)));
        at = wire_write_u32(at, 1000 + random_below(9999000));
        at = wire_write_u16(at, (uint16_t)(10 + random_below(990)));
        at = wire_write_u16(at, (uint16_t)(1 + random_below(1000)));
        wire_write_u16(at, 0);
        return 22;
    }
    case 0x05:
        wire_write_u16(to, (uint16_t)(100 + random_below(300)));
        return 2;
    case 0x06: {
        points = (uint16_t)(2 + random_below(random_below(8) ? 6 : 255));
        given = 0;
        crc = CRC16_START;
        for (uint16_t i = 0; i < points; i++) {
            crc = crc16_add(crc, (uint8_t)(100 + i % 100));
            crc = crc16_add(crc, 0);
        }
        uint8_t *at = wire_write_u16(to, points);
        at = wire_write_u16(at, random_below(4) ? (uint16_t)(1 + random_below(points - 1u)) : 0xFFFF);
        wire_write_u16(at, crc);
        return 6;
    }
    case 0x07: {
        uint8_t count = points > given ? (uint8_t)(points - given < 31 ? points - given : 31) : 1;
        uint8_t *at = wire_write_u16(to, given);
        for (uint8_t i = 0; i < count; i++)
            at = wire_write_u16(at, (uint16_t)(100 + (given + i) % 100));
        given = (uint16_t)(given + count);
        return (uint8_t)(2 + 2 * count);
    }
    case 0x09: {
        uint8_t *const at = wire_write_u32(to, 10000 + random_below(random_below(2) ? 100000 : 59990000));
        wire_write_u16(at, (uint16_t)(2 + random_below(20)));
        return 6;
    }
    case 0x0E:
        wire_write_u16(to, (uint16_t)(random_below(4) ? 10 + random_below(50) : 0));
        return 2;
    default:
        return 0;
    }
}

static uint32_t make_input(uint8_t *to)
{
    uint8_t payload[FRAME_LONGEST_PAYLOAD];
    uint32_t length;
    uint32_t const way = random_below(8);
    if (way == 0) { /* noise, rich in sync bytes */
        static uint8_t const likely[] = {0xED, 0xF1, 0x00, 0x40, 0x41, 0xFF};
        length = random_below(80);
        for (uint32_t i = 0; i < length; i++)
            to[i] = random_below(2) ? likely[random_below(sizeof likely)] : (uint8_t)random_below(256);
        return length;
    }
    uint8_t const sequence = (uint8_t)random_below(256);
    if (way == 1) { /* any payload, any type */
        uint8_t const size = (uint8_t)random_below(FRAME_LONGEST_PAYLOAD + 1);
        for (uint8_t i = 0; i < size; i++)
            payload[i] = (uint8_t)random_below(256);
        return encode(to, (uint8_t)random_below(random_below(2) ? 20 : 256), sequence, payload, size);
    }
    static uint8_t next_of_table = 0x06; /* so that tables come to be whole */
    uint8_t type = (uint8_t)(1 + random_below(15));
    if (way >= 5) {
        type = next_of_table;
        next_of_table = type == 0x06 ? 0x07 : type == 0x07 ? (random_below(3) ? 0x08 : 0x07) : type == 0x08 ? 0x09 : 0x06;
    }
    uint8_t const size = sensible_payload(type, payload);
    if (way == 3 && size > 0) /* one field out of place */
        payload[random_below(size)] = (uint8_t)random_below(256);
    length = encode(to, type, sequence, payload, size);
    if (way == 2) { /* damaged: a bit, or cut off */
        if (random_below(2))
            to[random_below(length)] ^= (uint8_t)(1u << random_below(8));
        else
            length = random_below(length);
    }
    return length;
}

static void check_answers(uint32_t input)
{
    uint8_t bytes[FRAME_LONGEST];
    awaited = (uint8_t)(input >> 8);
    answered = false;
    host_advance(40 * MILLISECOND); /* what had begun is cut off */
    device_poll();
    read_sent(input);
    give(bytes, encode(bytes, 0x01, awaited, bytes, 0), input);
    for (int i = 0; i < 8 && !answered; i++) {
        device_poll();
        read_sent(input);
    }
    if (!answered)
        fail("IDENTIFY was not answered", input);
}

int main(int argc, char **argv)
{
    uint32_t const inputs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    frame_parser_init(&sent);
    device_start();
    for (uint32_t input = 0; input < inputs; input++) {
        uint8_t bytes[128];
        give(bytes, make_input(bytes), input);
        if (random_below(16) == 0)
            host_set_home_input(random_below(2));
        host_advance(random_below(random_below(32) ? MILLISECOND : 60 * MILLISECOND));
        if (input % 2000 == 0) /* long enough for the watchdog and for homing to fail */
            host_advance(5000 * MILLISECOND);
        if (input % 1000 == 999)
            check_answers(input);
    }
    printf("%" PRIu32 " inputs, %" PRIu32 " frames sent: %" PRIu32 " replies, %" PRIu32 " refusals\n", inputs, frames_sent,
           replies, refusals);
    return replies > inputs / 5 && refusals > inputs / 100 ? 0 : 1;
}
