#include "crc16.h"

/* A whole byte at once, without a table: the eight shifts of the polynomial 1 + x^5 + x^12 written out. */
uint16_t crc16_add(uint16_t crc, uint8_t byte)
{
    uint8_t const high = (uint8_t)(crc >> 8) ^ byte;
    uint8_t const mixed = high ^ (high >> 4);
    return (uint16_t)((uint16_t)(crc << 8) ^ mixed ^ ((uint16_t)mixed << 5) ^ ((uint16_t)mixed << 12));
}
