/* What the firmware needs of a microcontroller. A port to another one is one file that implements this and calls the
 * functions named serial_on_*, lens_on_*.
 *
 * Time is counted in units of 0.5 us from the start of the device. "Interrupt" below also means: between hal_lock and
 * hal_unlock. */
#ifndef HAL_H
#define HAL_H

#include <stdbool.h>
#include <stdint.h>

#define COUNTS_PER_US 2u
#define COUNTS_PER_MS 2000u

#define HAL_HARDWARE_ATMEGA328P 1

typedef uint8_t hal_lock_state;

void hal_init(void);
uint8_t hal_reset_cause(void); /* bit 0 power, 1 reset line, 2 low voltage, 3 hardware watchdog */
void hal_feed_watchdog(void);  /* resets the device where it is not called for 250 ms */
void hal_sleep(void);          /* until the next interrupt; returns at once where bytes have come meanwhile */

hal_lock_state hal_lock(void); /* no interrupts from here on */
void hal_unlock(hal_lock_state state);

uint64_t hal_counts(void);           /* outside of interrupts */
uint32_t hal_counts_low(void);       /* the low half, in interrupts */

/* The HAL calls lens_on_tick every `interval` counts. The serial line may interrupt that, lens_on_turn not. */
void hal_set_tick(uint16_t interval_counts);

/* Raise the sync output at `at`, made by hardware, and lower it `width` later; calls lens_on_turn after the rising edge.
 * In interrupts; `at` lies less than 32 ms ahead. */
void hal_sync_pulse(uint32_t at_counts, uint16_t width_counts);

void hal_send_bytes(void); /* call serial_on_ready until it has nothing more */

void hal_write_dac(uint16_t frame); /* 16 bits by SPI, high bit first; in interrupts; done within a tick */

void hal_enable_stepper(bool enabled);
void hal_set_direction(bool forward); /* at least 1 us before the step */
void hal_set_step(bool high);
bool hal_home_input(void); /* level of the home switch's input */

#endif
