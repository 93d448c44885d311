#include "table.h"

#include "crc16.h"
#include "wire.h"

uint16_t table_points[TABLE_CAPACITY];

static uint16_t length, near_turn, expected_crc, received;
static bool announced, there;

void table_forget(void)
{
    announced = there = false;
}

bool table_there(void)
{
    return there;
}

uint16_t table_length(void)
{
    return length;
}

uint16_t table_near_turn(void)
{
    return near_turn;
}

enum error table_begin(uint16_t new_length, uint16_t new_near_turn, uint16_t crc)
{
    if (new_length < 2 || new_length > TABLE_CAPACITY)
        return ERROR_VALUE;
    if (new_near_turn != TABLE_NO_NEAR_TURN && (new_near_turn == 0 || new_near_turn >= new_length))
        return ERROR_VALUE;
    length = new_length;
    near_turn = new_near_turn;
    expected_crc = crc;
    received = 0;
    announced = true;
    there = false;
    return ERROR_NONE;
}

enum error table_add(uint16_t first, uint8_t const *points, uint8_t count, uint16_t low, uint16_t high)
{
    if (!announced)
        return ERROR_NO_TABLE;
    if (first > received || count > length - first)
        return ERROR_INCOMPLETE;
    for (uint8_t i = 0; i < count; i++) {
        uint16_t const point = wire_read_u16(points + 2 * i);
        if (point < low || point > high)
            return ERROR_LIMIT;
    }
    for (uint8_t i = 0; i < count; i++)
        table_points[first + i] = wire_read_u16(points + 2 * i);
    if (first + count > received)
        received = (uint16_t)(first + count);
    return ERROR_NONE;
}

enum error table_end(void)
{
    if (!announced)
        return ERROR_NO_TABLE;
    announced = false;
    if (received != length)
        return ERROR_INCOMPLETE;
    uint16_t crc = CRC16_START;
    for (uint16_t i = 0; i < length; i++) {
        crc = crc16_add(crc, (uint8_t)table_points[i]);
        crc = crc16_add(crc, (uint8_t)(table_points[i] >> 8));
    }
    if (crc != expected_crc)
        return ERROR_CHECKSUM;
    there = true;
    return ERROR_NONE;
}
