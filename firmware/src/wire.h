/* Little-endian numbers in payloads. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

static inline uint16_t wire_read_u16(uint8_t const *from)
{
    return (uint16_t)(from[0] | (uint16_t)from[1] << 8);
}

static inline uint32_t wire_read_u32(uint8_t const *from)
{
    return wire_read_u16(from) | (uint32_t)wire_read_u16(from + 2) << 16;
}

static inline uint8_t *wire_write_u8(uint8_t *to, uint8_t value)
{
    *to = value;
    return to + 1;
}

static inline uint8_t *wire_write_u16(uint8_t *to, uint16_t value)
{
    return wire_write_u8(wire_write_u8(to, (uint8_t)value), (uint8_t)(value >> 8));
}

static inline uint8_t *wire_write_u32(uint8_t *to, uint32_t value)
{
    return wire_write_u16(wire_write_u16(to, (uint16_t)value), (uint16_t)(value >> 16));
}

static inline uint8_t *wire_write_u64(uint8_t *to, uint64_t value)
{
    return wire_write_u32(wire_write_u32(to, (uint32_t)value), (uint32_t)(value >> 32));
}

/* Counters stop at their highest value. */
static inline void count_up(uint16_t *counter, uint16_t by)
{
    *counter = (uint16_t)(UINT16_MAX - *counter < by ? UINT16_MAX : *counter + by);
}

#endif
