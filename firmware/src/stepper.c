#include "stepper.h"

#include <stdlib.h>

#include "hal.h"

#define TICK_HZ 4000u
#define ONE_STEP 0x10000l
#define OVER_TRAVEL_STEPS 2000 /* beyond the upper limit, in search of the switch; and to get off it */
#define FARTHEST_STEPS 32000 /* that a position can be from where counting began */
#define SWITCH_SETTLES_TICKS 2u

/* A step is made where the wanted position is this far from the last one; a little more than half a step, so that a set
 * point that rests between two steps makes neither of them chatter. */
#define STEP_AT 0x9000l

enum homing { HOMING_NONE, HOMING_SEEK, HOMING_BACK_OFF };

/* Positions are in 1/65536 step, speeds in that per tick, the acceleration in that per tick per tick. A tick has two
 * halves, at each of which a step can be made; only the first works out where to go, for that takes its time. */
static struct stepper_settings set;
static int32_t full_speed, homing_speed, highest_speed;
static int32_t acceleration;
static int32_t longest_braking;        /* from twice the full speed */
static int32_t target, target_speed;   /* at this tick */
static int32_t position, speed;        /* what the motor is asked for */
static int32_t steps;                  /* made */
static int32_t steps_before_homing;
static enum homing homing;
static bool homed, counted /* since a homing, be it that steps were lost */;
static bool step_due, switch_closed;
static uint8_t switch_differs_ticks;
static int16_t lost;

static int32_t to_speed(uint16_t steps_per_s)
{
    return (int32_t)(((uint32_t)steps_per_s << 16) / TICK_HZ);
}

void stepper_configure(struct stepper_settings const *settings)
{
    set = *settings;
    full_speed = highest_speed = to_speed(set.speed);
    homing_speed = to_speed(set.homing_speed);
    acceleration = (int32_t)(((uint64_t)set.acceleration << 16) / ((uint32_t)TICK_HZ * TICK_HZ));
    uint64_t const braking = 2 * (uint64_t)full_speed * (uint64_t)full_speed / (uint32_t)acceleration;
    longest_braking = braking > INT32_MAX ? INT32_MAX : (int32_t)braking;
    target = target_speed = position = speed = steps = 0;
    homing = HOMING_NONE;
    homed = counted = step_due = false;
    switch_closed = hal_home_input() == set.switch_reads_high;
    switch_differs_ticks = 0;
    lost = 0;
}

static void back_off(void)
{
    homing = HOMING_BACK_OFF;
    highest_speed = homing_speed / 4 > 0 ? homing_speed / 4 : 1;
    target = (steps + OVER_TRAVEL_STEPS) * ONE_STEP;
}

void stepper_home(void)
{
    steps_before_homing = steps;
    position -= steps * ONE_STEP; /* so that the way fits */
    steps = 0;
    homed = false;
    target_speed = 0;
    if (switch_closed) {
        back_off();
        return;
    }
    homing = HOMING_SEEK;
    highest_speed = homing_speed;
    target = -((int32_t)set.high + OVER_TRAVEL_STEPS) * ONE_STEP;
}

bool stepper_is_homed(void)
{
    return homed;
}

void stepper_follow(uint32_t set_point, int32_t rise)
{
    target = (int32_t)set_point;
    target_speed = rise > full_speed ? full_speed : rise < -full_speed ? -full_speed : rise;
}

uint16_t stepper_stop(void)
{
    if (homing != HOMING_NONE) {
        homing = HOMING_NONE;
        highest_speed = full_speed;
        counted = false;
    }
    uint32_t const eighth = (uint32_t)labs(speed) >> 3; /* so that the square fits */
    int32_t const braking = (int32_t)((eighth * eighth / (2u * (uint32_t)acceleration)) >> 10);
    int32_t rest = position / ONE_STEP + (speed < 0 ? -braking : braking);
    int32_t const low = homed ? (int32_t)set.low : -FARTHEST_STEPS;
    int32_t const high = homed ? (int32_t)set.high : FARTHEST_STEPS;
    rest = rest < low ? low : rest > high ? high : rest;
    target = rest * ONE_STEP;
    target_speed = 0;
    return rest < 0 ? 0 : (uint16_t)rest;
}

bool stepper_at_rest(void)
{
    return position == target && speed == 0;
}

/* Whether `fast` cannot be brought to nothing any more, or just so, over the distance: v^2 >= 2 a d, all divided by 64
 * to fit; without a division or a root, for an 8-bit processor has no time for either. */
static bool must_brake(int32_t fast, int32_t distance)
{
    if (distance >= longest_braking)
        return false;
    if (distance <= 0)
        return true;
    uint32_t const eighth = (uint32_t)fast >> 3;
    return eighth * eighth >= (uint32_t)acceleration * ((uint32_t)distance >> 5);
}

/* The speed from now to the next tick: as fast as possible to the target and along with it. */
static int32_t next_speed(void)
{
    int32_t const gap = target - position;
    int32_t const wanted = gap + target_speed; /* is on the target at the next tick */
    int32_t next;
    if (labs(wanted - speed) <= acceleration) {
        next = wanted;
    } else {
        int32_t const closing = gap >= 0 ? speed - target_speed : target_speed - speed;
        bool const brake = closing > 0 && must_brake(closing, labs(gap));
        next = brake == (gap >= 0) ? speed - acceleration : speed + acceleration;
    }
    if (next > highest_speed)
        next = speed - acceleration > highest_speed ? speed - acceleration : highest_speed;
    if (next < -highest_speed)
        next = speed + acceleration < -highest_speed ? speed + acceleration : -highest_speed;
    if (!homed)
        return next;
    /* A set point that turns too sharply may not carry the lens beyond its limits. */
    if (next > acceleration && must_brake(next, set.high * (int32_t)ONE_STEP - position))
        next = speed - acceleration;
    else if (next < -acceleration && must_brake(-next, position - set.low * (int32_t)ONE_STEP))
        next = speed + acceleration;
    return next;
}

static void look_at_switch(void)
{
    if ((hal_home_input() == set.switch_reads_high) == switch_closed) {
        switch_differs_ticks = 0;
    } else if (++switch_differs_ticks == SWITCH_SETTLES_TICKS) {
        switch_closed = !switch_closed;
        switch_differs_ticks = 0;
    }
}

static int16_t to_int16(int32_t value)
{
    return value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : (int16_t)value;
}

static void rest_here(void)
{
    position = target = steps * ONE_STEP;
    speed = target_speed = 0;
    highest_speed = full_speed;
    homing = HOMING_NONE;
}

static enum stepper_event check_switch(void)
{
    look_at_switch();
    if (homing == HOMING_NONE) {
        if (!homed || !switch_closed || steps <= set.tolerance)
            return STEPPER_NOTHING;
        homed = false;
        lost = to_int16(steps);
        rest_here();
        return STEPPER_STEPS_LOST;
    }
    if (homing == HOMING_SEEK && switch_closed) {
        back_off();
    } else if (homing == HOMING_BACK_OFF && !switch_closed) {
        lost = counted ? to_int16(steps_before_homing + steps) : 0;
        steps = 0;
        homed = counted = true;
        rest_here(); /* from a quarter of the homing speed */
        return STEPPER_HOMED;
    } else if (stepper_at_rest()) {
        counted = false;
        rest_here();
        return STEPPER_HOMING_FAILED;
    }
    return STEPPER_NOTHING;
}

/* Work out whether the next half tick begins with a step, to get to `wanted`. */
static void choose_step(int32_t wanted)
{
    int32_t const offset = wanted - steps * ONE_STEP;
    hal_set_step(false);
    step_due = offset >= STEP_AT || offset <= -STEP_AT;
    if (step_due) {
        steps += offset > 0 ? 1 : -1;
        hal_set_direction((offset > 0) != set.inverted);
    }
}

enum stepper_event stepper_tick(void)
{
    hal_set_step(step_due);
    enum stepper_event const event = check_switch();
    speed = next_speed();
    choose_step(position + speed / 2);
    position += speed;
    return event;
}

void stepper_half_tick(void)
{
    hal_set_step(step_due);
    choose_step(position);
}

uint16_t stepper_position(void)
{
    return steps < 0 ? 0 : (uint16_t)steps;
}

bool stepper_switch_closed(void)
{
    return switch_closed;
}

int16_t stepper_steps_lost(void)
{
    return lost;
}
