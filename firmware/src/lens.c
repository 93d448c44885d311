#include "lens.h"

#include "dac.h"
#include "hal.h"
#include "stepper.h"
#include "sweep.h"
#include "table.h"
#include "wire.h"

#define FAR_PULSE_US 1000u
#define NEAR_PULSE_US 500u
#define SHORTEST_PERIOD_US 10000u
#define LONGEST_PERIOD_US 60000000u
#define SHORTEST_LEAD_MS 2u
#define LONGEST_LEAD_MS 10000u
#define SHORTEST_WATCHDOG_MS 100u
#define LONGEST_WATCHDOG_MS 60000u
#define SHORTEST_SAMPLE_MS 10u
#define LONGEST_SAMPLE_MS 60000u

enum kind { KIND_NONE, KIND_ANALOGUE, KIND_STEPPER };
enum { FLAG_INVERTED = 1, FLAG_SWITCH_READS_HIGH = 2 };
enum { STATUS_HOMED = 1, STATUS_TABLE = 2, STATUS_SWITCH = 4, STATUS_WATCHDOG = 8, STATUS_STEPS_LOST = 16 };

static struct {
    enum kind kind;
    uint8_t flags;
    uint16_t low, high, park, watchdog_ms;
} set;
static struct stepper_settings stepper;

static uint16_t tick; /* counts */
static bool half_tick; /* the next one, of a stepper */
static uint8_t ticks_per_ms;
static enum lens_state state;
static bool arriving; /* and a record is due when it is there */
static uint32_t value; /* of the set point at this tick, in 1/65536 code */
static uint16_t written; /* to the converter */
static uint32_t lead_ticks_left, watchdog_ticks_left, sample_ticks, sample_ticks_left;
static uint16_t sample_ms;
static int8_t direction;
static bool watchdog_parked, steps_were_lost;
static uint16_t watchdog_trips, late_ticks;
static uint32_t turns;
static struct record turn_ahead;

static uint16_t set_point(void)
{
    return (uint16_t)(value >> 16);
}

static uint16_t position(void)
{
    return set.kind == KIND_STEPPER ? stepper_position() : set_point();
}

static void put_record(enum record_kind kind, uint32_t counts, int16_t detail)
{
    records_put((struct record){.counts = counts,
                                .set_point = set_point(),
                                .position = position(),
                                .detail = detail,
                                .kind = (uint8_t)kind,
                                .direction = direction});
}

static void set_sampling(uint16_t interval_ms)
{
    sample_ms = interval_ms;
    sample_ticks = sample_ticks_left = (uint32_t)interval_ms * ticks_per_ms;
}

static void set_tick(uint16_t counts)
{
    tick = counts;
    ticks_per_ms = (uint8_t)(COUNTS_PER_MS / counts);
    half_tick = false;
    hal_set_tick(set.kind == KIND_STEPPER ? STEPPER_HALF_TICK_COUNTS : counts);
    set_sampling(sample_ms);
}

void lens_init(void)
{
    set.kind = KIND_NONE;
    state = LENS_UNCONFIGURED;
    arriving = watchdog_parked = steps_were_lost = false;
    value = 0;
    direction = 0;
    watchdog_trips = late_ticks = 0;
    turns = 0;
    sample_ms = 0;
    table_forget();
    set_tick(ANALOGUE_TICK_COUNTS);
}

/* ---- what the host asks for ---- */

static bool sweeps(void)
{
    return state == LENS_WAITING || state == LENS_SWEEPING;
}

static bool within_limits(uint16_t code)
{
    return code >= set.low && code <= set.high;
}

static bool between(uint32_t number, uint32_t low, uint32_t high)
{
    return number >= low && number <= high;
}

/* Why the lens may not be moved to a set point. */
static enum error movable(void)
{
    if (state == LENS_UNCONFIGURED)
        return ERROR_UNCONFIGURED;
    if (state == LENS_FAULT)
        return ERROR_FAULT;
    if (state == LENS_HOMING)
        return ERROR_BUSY;
    if (set.kind == KIND_STEPPER && !stepper_is_homed())
        return ERROR_NOT_HOMED;
    return ERROR_NONE;
}

/* In interrupts. */
static void move(uint16_t code, enum lens_state new_state)
{
    state = new_state;
    value = (uint32_t)code << 16;
    direction = 0;
    arriving = true;
    if (set.kind == KIND_STEPPER)
        stepper_follow(value, 0);
}

static enum error read_stepper(uint8_t const *payload, struct stepper_settings *settings)
{
    settings->inverted = payload[1] & FLAG_INVERTED;
    settings->switch_reads_high = payload[1] & FLAG_SWITCH_READS_HIGH;
    settings->low = wire_read_u16(payload + 2);
    settings->high = wire_read_u16(payload + 4);
    settings->speed = wire_read_u16(payload + 10);
    settings->acceleration = wire_read_u32(payload + 12);
    settings->homing_speed = wire_read_u16(payload + 16);
    settings->tolerance = wire_read_u16(payload + 18);
    bool const allowed = payload[1] <= (FLAG_INVERTED | FLAG_SWITCH_READS_HIGH)
                         && settings->high <= STEPPER_HIGHEST_CODE
                         && between(settings->speed, STEPPER_LOWEST_SPEED, STEPPER_HIGHEST_SPEED)
                         && between(settings->acceleration, STEPPER_LOWEST_ACCELERATION, STEPPER_HIGHEST_ACCELERATION)
                         && between(settings->homing_speed, STEPPER_LOWEST_SPEED, settings->speed)
                         && between(settings->tolerance, 1, STEPPER_HIGHEST_TOLERANCE);
    return allowed ? ERROR_NONE : ERROR_VALUE;
}

enum error lens_configure(uint8_t const *payload)
{
    uint8_t const kind = payload[0];
    uint16_t const low = wire_read_u16(payload + 2), high = wire_read_u16(payload + 4);
    uint16_t const park = wire_read_u16(payload + 6), watchdog_ms = wire_read_u16(payload + 8);
    struct stepper_settings new_stepper = {0};
    if (sweeps() || state == LENS_HOMING)
        return ERROR_BUSY;
    if (kind > KIND_STEPPER)
        return ERROR_VALUE;
    if (kind != KIND_NONE
        && !(low < high && between(park, low, high) && between(watchdog_ms, SHORTEST_WATCHDOG_MS, LONGEST_WATCHDOG_MS)))
        return ERROR_VALUE;
    if (kind == KIND_STEPPER) {
        enum error const error = read_stepper(payload, &new_stepper);
        if (error != ERROR_NONE)
            return error;
    }

    hal_lock_state lock = hal_lock();
    state = LENS_UNCONFIGURED; /* ticks leave all alone, and the long divisions below need no lock */
    set.kind = KIND_NONE;
    direction = 0;
    value = 0;
    arriving = watchdog_parked = steps_were_lost = false;
    hal_unlock(lock);

    table_forget();
    stepper = new_stepper;
    set.flags = kind == KIND_STEPPER ? payload[1] : 0;
    set.low = low;
    set.high = high;
    set.park = park;
    set.watchdog_ms = watchdog_ms;
    if (kind == KIND_STEPPER)
        stepper_configure(&stepper);

    lock = hal_lock();
    hal_enable_stepper(kind == KIND_STEPPER);
    set.kind = (enum kind)kind;
    set_tick(kind == KIND_STEPPER ? STEPPER_TICK_COUNTS : ANALOGUE_TICK_COUNTS);
    if (kind == KIND_ANALOGUE) {
        written = (uint16_t)~park; /* nothing is known to be there */
        move(park, LENS_PARKED);
    } else {
        dac_release();
        state = kind == KIND_STEPPER ? LENS_HOLDING : LENS_UNCONFIGURED;
    }
    hal_unlock(lock);
    lens_feed_watchdog();
    return ERROR_NONE;
}

void lens_encode_configuration(uint8_t *to)
{
    bool const any = set.kind != KIND_NONE;
    to = wire_write_u8(to, (uint8_t)set.kind);
    to = wire_write_u8(to, set.flags);
    to = wire_write_u16(to, any ? set.low : 0);
    to = wire_write_u16(to, any ? set.high : 0);
    to = wire_write_u16(to, any ? set.park : 0);
    to = wire_write_u16(to, any ? set.watchdog_ms : 0);
    to = wire_write_u16(to, stepper.speed);
    to = wire_write_u32(to, stepper.acceleration);
    to = wire_write_u16(to, stepper.homing_speed);
    to = wire_write_u16(to, stepper.tolerance);
    wire_write_u16(to, 0);
}

enum error lens_home(void)
{
    if (state == LENS_UNCONFIGURED)
        return ERROR_UNCONFIGURED;
    if (set.kind != KIND_STEPPER)
        return ERROR_VALUE;
    if (state == LENS_HOMING)
        return ERROR_BUSY;
    hal_lock_state const lock = hal_lock();
    state = LENS_HOMING;
    direction = 0;
    arriving = false;
    value = 0;
    stepper_home();
    hal_unlock(lock);
    return ERROR_NONE;
}

enum error lens_go_to(uint16_t code)
{
    enum error const error = movable();
    if (error != ERROR_NONE)
        return error;
    if (!within_limits(code))
        return ERROR_LIMIT;
    hal_lock_state const lock = hal_lock();
    move(code, LENS_MOVING);
    hal_unlock(lock);
    return ERROR_NONE;
}

enum error lens_park(void)
{
    enum error const error = movable();
    if (error != ERROR_NONE)
        return error;
    hal_lock_state const lock = hal_lock();
    move(set.park, LENS_PARKED);
    hal_unlock(lock);
    return ERROR_NONE;
}

enum error lens_stop(void)
{
    if (state == LENS_UNCONFIGURED)
        return ERROR_UNCONFIGURED;
    if (state == LENS_FAULT)
        return ERROR_NONE; /* it rests already */
    hal_lock_state const lock = hal_lock();
    state = LENS_HOLDING;
    direction = 0;
    arriving = false;
    if (set.kind == KIND_STEPPER)
        value = (uint32_t)stepper_stop() << 16;
    hal_unlock(lock);
    return ERROR_NONE;
}

enum error lens_table_begin(uint16_t length, uint16_t near_turn, uint16_t crc)
{
    if (state == LENS_UNCONFIGURED)
        return ERROR_UNCONFIGURED;
    return sweeps() ? ERROR_BUSY : table_begin(length, near_turn, crc);
}

enum error lens_table_add(uint16_t first, uint8_t const *points, uint8_t count)
{
    return sweeps() ? ERROR_BUSY : table_add(first, points, count, set.low, set.high);
}

enum error lens_table_end(void)
{
    return sweeps() ? ERROR_BUSY : table_end();
}

enum error lens_start(uint32_t period_us, uint16_t lead_ms)
{
    enum error const error = movable();
    if (error != ERROR_NONE)
        return error;
    if (sweeps())
        return ERROR_BUSY;
    if (!table_there())
        return ERROR_NO_TABLE;
    if (!between(period_us, SHORTEST_PERIOD_US, LONGEST_PERIOD_US)
        || !between(lead_ms, SHORTEST_LEAD_MS, LONGEST_LEAD_MS) || !sweep_allowed(period_us))
        return ERROR_VALUE;
    sweep_prepare(period_us, tick);
    hal_lock_state const lock = hal_lock();
    lead_ticks_left = (uint32_t)lead_ms * ticks_per_ms;
    move(table_points[0], LENS_WAITING);
    hal_unlock(lock);
    return ERROR_NONE;
}

enum error lens_sample_every(uint16_t interval_ms)
{
    if (interval_ms != 0 && !between(interval_ms, SHORTEST_SAMPLE_MS, LONGEST_SAMPLE_MS))
        return ERROR_VALUE;
    hal_lock_state const lock = hal_lock();
    set_sampling(interval_ms);
    hal_unlock(lock);
    return ERROR_NONE;
}

void lens_feed_watchdog(void)
{
    hal_lock_state const lock = hal_lock();
    watchdog_ticks_left = (uint32_t)set.watchdog_ms * ticks_per_ms;
    hal_unlock(lock);
}

struct lens_status lens_status(void)
{
    hal_lock_state const lock = hal_lock();
    bool const is_stepper = set.kind == KIND_STEPPER;
    struct lens_status const status = {
        .state = (uint8_t)state,
        .flags = (uint8_t)((is_stepper && stepper_is_homed() ? STATUS_HOMED : 0) | (table_there() ? STATUS_TABLE : 0)
                           | (is_stepper && stepper_switch_closed() ? STATUS_SWITCH : 0)
                           | (watchdog_parked ? STATUS_WATCHDOG : 0) | (steps_were_lost ? STATUS_STEPS_LOST : 0)),
        .set_point = set_point(),
        .position = position(),
        .records_lost = records_lost(),
        .watchdog_trips = watchdog_trips,
        .steps_lost = is_stepper ? stepper_steps_lost() : 0,
        .turns = turns,
        .late_ticks = late_ticks,
    };
    hal_unlock(lock);
    return status;
}

struct record lens_sample(void)
{
    hal_lock_state const lock = hal_lock();
    struct record const record = {.number = records_next_number(),
                                  .counts = hal_counts_low(),
                                  .set_point = set_point(),
                                  .position = position(),
                                  .kind = RECORD_SAMPLE,
                                  .direction = direction};
    hal_unlock(lock);
    return record;
}

/* ---- what happens at every tick ---- */

/* The turn is made ready a tick ahead, so that hardware can raise the pulse at its very time. */
static void prepare_turn(enum turn turn, uint32_t counts)
{
    bool const far = turn == TURN_FAR;
    turn_ahead = (struct record){.counts = counts,
                                 .set_point = table_points[far ? 0 : table_near_turn()],
                                 .kind = far ? RECORD_FAR_TURN : RECORD_NEAR_TURN,
                                 .direction = far ? 1 : -1};
    hal_sync_pulse(counts, (far ? FAR_PULSE_US : NEAR_PULSE_US) * COUNTS_PER_US);
}

void lens_on_turn(void)
{
    turns++;
    turn_ahead.position = set.kind == KIND_STEPPER ? stepper_position() : turn_ahead.set_point;
    if (state == LENS_SWEEPING)
        direction = turn_ahead.direction;
    else
        turn_ahead.direction = 0; /* stopped since the turn was prepared */
    records_put(turn_ahead);
}

/* Work out the next tick's set point, which begins at `counts`. */
static uint32_t play(uint32_t counts)
{
    uint32_t const next = set.kind == KIND_ANALOGUE ? sweep_middle_value() : sweep_value();
    uint16_t offset;
    enum turn const turn = sweep_advance(&offset);
    if (turn != TURN_NONE)
        prepare_turn(turn, counts + offset);
    return next;
}

static void arrive(uint32_t counts)
{
    if (!arriving || (set.kind == KIND_STEPPER && !stepper_at_rest()))
        return;
    arriving = false;
    if (state == LENS_WAITING)
        return;
    if (state == LENS_MOVING)
        state = LENS_HOLDING;
    put_record(RECORD_ARRIVED, counts, 0);
}

static void handle(enum stepper_event event, uint32_t counts)
{
    switch (event) {
    case STEPPER_NOTHING:
        break;
    case STEPPER_HOMED:
        put_record(RECORD_HOMED, counts, stepper_steps_lost());
        move(set.park, LENS_PARKED);
        break;
    case STEPPER_HOMING_FAILED:
        state = LENS_FAULT;
        put_record(RECORD_HOMING_FAILED, counts, 0);
        break;
    case STEPPER_STEPS_LOST:
        state = LENS_FAULT;
        direction = 0;
        arriving = false;
        steps_were_lost = true;
        value = (uint32_t)stepper_position() << 16;
        put_record(RECORD_STEPS_LOST, counts, stepper_steps_lost());
        break;
    }
}

static void output(void)
{
    if (set.kind == KIND_STEPPER || written == set_point())
        return;
    written = set_point();
    dac_write(written);
}

static void watch_host(uint32_t counts)
{
    if (watchdog_ticks_left > 0) {
        watchdog_ticks_left--;
        return;
    }
    if (state == LENS_PARKED || movable() != ERROR_NONE)
        return;
    watchdog_parked = true;
    count_up(&watchdog_trips, 1);
    move(set.park, LENS_PARKED);
    put_record(RECORD_WATCHDOG, counts, 0);
}

static void sample(uint32_t counts)
{
    if (sample_ticks == 0 || --sample_ticks_left > 0)
        return;
    sample_ticks_left = sample_ticks;
    put_record(RECORD_SAMPLE, counts, 0);
}

void lens_on_tick(uint32_t counts, bool late)
{
    count_up(&late_ticks, late);
    if (half_tick) {
        half_tick = false;
        stepper_half_tick();
        return;
    }
    half_tick = set.kind == KIND_STEPPER;
    sample(counts);
    if (state == LENS_UNCONFIGURED)
        return;
    output();
    uint32_t next = value;
    if (state == LENS_SWEEPING)
        next = play(counts + tick);
    if (set.kind == KIND_STEPPER) {
        if (state == LENS_SWEEPING)
            stepper_follow(value, (int32_t)(next - value));
        handle(stepper_tick(), counts);
    }
    if (state == LENS_SWEEPING)
        value = next;
    arrive(counts);
    if (state == LENS_WAITING && !arriving && --lead_ticks_left == 0) {
        state = LENS_SWEEPING;
        prepare_turn(TURN_FAR, counts + tick);
        value = play(counts + tick);
    }
    watch_host(counts);
}
