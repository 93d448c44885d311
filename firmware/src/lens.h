/* The lens: its configuration, what it is doing, and what it does at every tick. Called by the main loop, but for
 * lens_on_tick and lens_on_turn. */
#ifndef LENS_H
#define LENS_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "records.h"

#define LENS_CONFIGURATION_SIZE 22u
#define ANALOGUE_TICK_COUNTS 1000u /* 2 kHz */

enum lens_state {
    LENS_UNCONFIGURED,
    LENS_HOLDING,
    LENS_MOVING,
    LENS_HOMING,
    LENS_WAITING,
    LENS_SWEEPING,
    LENS_PARKED,
    LENS_FAULT,
};

struct lens_status {
    uint8_t state;
    uint8_t flags;
    uint16_t set_point;
    uint16_t position;
    uint16_t records_lost;
    uint16_t watchdog_trips;
    int16_t steps_lost;
    uint32_t turns;
    uint16_t late_ticks;
};

void lens_init(void);

enum error lens_configure(uint8_t const *payload);
void lens_encode_configuration(uint8_t *to);
enum error lens_home(void);
enum error lens_go_to(uint16_t code);
enum error lens_stop(void);
enum error lens_park(void);
enum error lens_table_begin(uint16_t length, uint16_t near_turn, uint16_t crc);
enum error lens_table_add(uint16_t first, uint8_t const *points, uint8_t count);
enum error lens_table_end(void);
enum error lens_start(uint32_t period_us, uint16_t lead_ms);
enum error lens_sample_every(uint16_t interval_ms); /* 0: never */
void lens_feed_watchdog(void);

struct lens_status lens_status(void);
struct record lens_sample(void);

/* In interrupts, by the HAL: at a tick, whose nominal time this is; after the rising edge of a sync pulse. */
void lens_on_tick(uint32_t counts, bool late);
void lens_on_turn(void);

#endif
