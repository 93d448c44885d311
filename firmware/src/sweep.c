#include "sweep.h"

#include "hal.h"
#include "table.h"

#define SHORTEST_BETWEEN_TURNS_US 4000ul

/* Phase within a segment is counted in units of 1 / (2 * points) count, of which a segment has 2 * period: whole numbers
 * for any period and any number of points, so nothing drifts and a tick needs no division. At least 40000 of them, so
 * that 16 bits are enough for the fraction. */
static uint32_t segment_units, phase, half_tick_units, tick_units;
static uint16_t reciprocal;      /* 2^31 / (segment_units >> shift) */
static uint32_t tick_reciprocal; /* 2^21 * tick / (tick_units >> tick_shift) */
static uint16_t tick, points, near_turn, segment;
static uint8_t shift, tick_shift;

bool sweep_allowed(uint32_t period_us)
{
    uint16_t const near = table_near_turn();
    if (near == TABLE_NO_NEAR_TURN)
        return true;
    uint16_t const rest = (uint16_t)(table_length() - near);
    uint32_t const shorter = near < rest ? near : rest;
    return period_us >= SHORTEST_BETWEEN_TURNS_US * TABLE_CAPACITY /* and the product below may not fit */
           || shorter * period_us >= SHORTEST_BETWEEN_TURNS_US * table_length();
}

void sweep_prepare(uint32_t period_us, uint16_t tick_counts)
{
    tick = tick_counts;
    points = table_length();
    near_turn = table_near_turn();
    segment_units = period_us * (2 * COUNTS_PER_US);
    half_tick_units = (uint32_t)tick_counts * points;
    tick_units = 2 * half_tick_units;
    for (shift = 0; segment_units >> shift > UINT16_MAX; shift++) {
    }
    for (tick_shift = 0; tick_units >> tick_shift > UINT16_MAX; tick_shift++) {
    }
    tick_reciprocal = ((uint32_t)tick_counts << 21) / (tick_units >> tick_shift);
    uint32_t const inverse = 0x80000000u / (segment_units >> shift);
    reciprocal = inverse > UINT16_MAX ? UINT16_MAX : (uint16_t)inverse;
    segment = 0;
    phase = 0;
}

static uint16_t after(uint16_t index)
{
    return index + 1 == points ? 0 : (uint16_t)(index + 1);
}

static uint32_t value_at(uint16_t index, uint32_t at)
{
    uint16_t const scaled = (uint16_t)(shift < 8 ? at >> shift : (at >> 8) >> (shift - 8)); /* whole bytes are free */
    uint16_t fraction = (uint16_t)((uint32_t)scaled * reciprocal >> 16); /* of 32768 */
    if (fraction > INT16_MAX)
        fraction = INT16_MAX;
    uint16_t const from = table_points[index];
    int32_t const rise = (int32_t)table_points[after(index)] - from;
    return ((uint32_t)from << 16) + ((uint32_t)(rise * fraction) << 1);
}

uint32_t sweep_value(void)
{
    return value_at(segment, phase);
}

uint32_t sweep_middle_value(void)
{
    uint16_t index = segment;
    uint32_t at = phase + half_tick_units;
    while (at >= segment_units) {
        at -= segment_units;
        index = after(index);
    }
    return value_at(index, at);
}

/* How many counts ago the segment began; to the nearest, for less than a tick. */
static uint16_t counts_since_begin(void)
{
    uint32_t const product = (phase >> tick_shift) * tick_reciprocal + (1ul << 20);
    return (uint16_t)(product >> 16) >> 5; /* in two: the processor has no barrel shifter */
}

enum turn sweep_advance(uint16_t *offset_counts)
{
    enum turn turn = TURN_NONE;
    phase += tick_units;
    while (phase >= segment_units) {
        phase -= segment_units;
        segment = after(segment);
        if (segment == 0 || segment == near_turn) {
            turn = segment == 0 ? TURN_FAR : TURN_NEAR;
            *offset_counts = (uint16_t)(tick - counts_since_begin());
        }
    }
    return turn;
}
