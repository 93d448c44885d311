#include "records.h"

#include "hal.h"
#include "wire.h"

#define CAPACITY 16u /* a power of two; records of 10 ms at the highest rates allowed */

static struct record queue[CAPACITY];
static volatile uint8_t head, tail;
static uint32_t number;
static uint16_t lost;

void records_init(void)
{
    head = tail = 0;
    number = 0;
    lost = 0;
}

void records_put(struct record record)
{
    record.number = number++;
    if ((uint8_t)(head - tail) == CAPACITY) {
        count_up(&lost, 1);
        return;
    }
    queue[head % CAPACITY] = record;
    head = (uint8_t)(head + 1);
}

bool records_take(struct record *record)
{
    hal_lock_state const lock = hal_lock(); /* the compiler may not move the copy past the indices */
    bool const there = head != tail;
    if (there) {
        *record = queue[tail % CAPACITY];
        tail = (uint8_t)(tail + 1);
    }
    hal_unlock(lock);
    return there;
}

uint32_t records_next_number(void)
{
    return number;
}

uint16_t records_lost(void)
{
    return lost;
}

void record_encode(struct record const *record, uint8_t *to)
{
    uint64_t const now = hal_counts();
    /* Signed, since a turn's record may be a moment ahead of a clock read before. */
    int32_t const age = (int32_t)((uint32_t)now - record->counts);
    to = wire_write_u32(to, record->number);
    to = wire_write_u64(to, (now - (uint64_t)(int64_t)age) / COUNTS_PER_US);
    to = wire_write_u8(to, record->kind);
    to = wire_write_u8(to, (uint8_t)record->direction);
    to = wire_write_u16(to, record->set_point);
    to = wire_write_u16(to, record->position);
    wire_write_u16(to, (uint16_t)record->detail);
}
