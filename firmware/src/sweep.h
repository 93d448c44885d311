/* Plays the table: where the waveform is at a time, and when it turns. */
#ifndef SWEEP_H
#define SWEEP_H

#include <stdbool.h>
#include <stdint.h>

enum turn { TURN_NONE, TURN_FAR, TURN_NEAR };

/* Whether the table at this period keeps its turns apart. */
bool sweep_allowed(uint32_t period_us);

/* Get ready for phase 0; for calls every `tick_counts`. */
void sweep_prepare(uint32_t period_us, uint16_t tick_counts);

/* Waveform at the beginning of the current tick, and in its middle: code in 1/65536. In interrupts. */
uint32_t sweep_value(void);
uint32_t sweep_middle_value(void);

/* Go on to the next tick. Returns the turn passed on the way, and how far after the tick's beginning. In interrupts. */
enum turn sweep_advance(uint16_t *offset_counts);

#endif
