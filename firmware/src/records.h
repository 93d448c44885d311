/* Telemetry: records wait here from the interrupt that made them until the line has room. */
#ifndef RECORDS_H
#define RECORDS_H

#include <stdbool.h>
#include <stdint.h>

#define RECORD_SIZE 20u

enum record_kind {
    RECORD_SAMPLE = 0,
    RECORD_FAR_TURN = 1,
    RECORD_NEAR_TURN = 2,
    RECORD_ARRIVED = 16,
    RECORD_HOMED = 17,
    RECORD_HOMING_FAILED = 18,
    RECORD_WATCHDOG = 19,
    RECORD_STEPS_LOST = 20,
};

struct record {
    uint32_t number;
    uint32_t counts; /* low half of the device's time */
    uint16_t set_point;
    uint16_t position;
    int16_t detail;
    uint8_t kind;
    int8_t direction;
};

void records_init(void);
void records_put(struct record record);  /* gives it its number; in interrupts */
bool records_take(struct record *record); /* in the main loop */
uint32_t records_next_number(void);       /* in interrupts */
uint16_t records_lost(void);              /* in interrupts */

/* As it goes over the wire: RECORD_SIZE bytes. In the main loop. */
void record_encode(struct record const *record, uint8_t *to);

#endif
