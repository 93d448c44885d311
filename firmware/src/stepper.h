/* A stepper that follows a set point within its speed and acceleration, and its home switch. In interrupts, but for
 * stepper_configure. */
#ifndef STEPPER_H
#define STEPPER_H

#include <stdbool.h>
#include <stdint.h>

#define STEPPER_TICK_COUNTS 500u /* 4 kHz */
#define STEPPER_HALF_TICK_COUNTS 250u
#define STEPPER_HIGHEST_CODE 30000u /* and the way back home still fits into 16 bits of steps */
#define STEPPER_LOWEST_SPEED 10u
#define STEPPER_HIGHEST_SPEED 7000u /* steps/s: less than one step in half a tick */
#define STEPPER_LOWEST_ACCELERATION 1000u
#define STEPPER_HIGHEST_ACCELERATION 10000000u
#define STEPPER_HIGHEST_TOLERANCE 1000u

struct stepper_settings {
    bool inverted;
    bool switch_reads_high;
    uint16_t low, high;
    uint16_t speed;        /* steps/s */
    uint32_t acceleration; /* steps/s^2 */
    uint16_t homing_speed; /* steps/s */
    uint16_t tolerance;    /* steps */
};

enum stepper_event { STEPPER_NOTHING, STEPPER_HOMED, STEPPER_HOMING_FAILED, STEPPER_STEPS_LOST };

void stepper_configure(struct stepper_settings const *settings); /* while nothing calls stepper_tick */
void stepper_home(void);
bool stepper_is_homed(void);

/* Follow a set point, in 1/65536 step, that will be `rise` further on at the next tick. */
void stepper_follow(uint32_t set_point, int32_t rise);

/* Come to rest as soon as the acceleration allows; returns where that will be. Ends homing. */
uint16_t stepper_stop(void);
bool stepper_at_rest(void); /* at its set point */

/* Make the step that is due, and work out the next one. Calls of the two alternate. */
enum stepper_event stepper_tick(void);
void stepper_half_tick(void);

uint16_t stepper_position(void); /* 0 where it is below */
bool stepper_switch_closed(void);
int16_t stepper_steps_lost(void); /* as the latest homing found; or the position at which the check found some */

#endif
