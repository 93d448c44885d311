#include "hal_host.h"

#include <assert.h>

#include "hal.h"
#include "lens.h"
#include "serial.h"

static uint64_t now, next_tick;
static uint16_t interval = 1000;
static bool pulse_ahead, home_level;
static uint32_t pulse_at;
static uint8_t locked;

void host_advance(uint32_t counts)
{
    uint64_t const end = now + counts;
    while (next_tick <= end) {
        if (pulse_ahead && (int32_t)(pulse_at - (uint32_t)next_tick) <= 0) {
            pulse_ahead = false;
            lens_on_turn();
        }
        now = next_tick;
        next_tick += interval;
        lens_on_tick((uint32_t)now, false);
    }
    now = end;
}

void host_set_home_input(bool level)
{
    home_level = level;
}

uint32_t host_take_sent(uint8_t *to, uint32_t room)
{
    uint32_t count = 0;
    while (count < room && serial_on_ready(to + count))
        count++;
    return count;
}

void hal_init(void)
{
}

uint8_t hal_reset_cause(void)
{
    return 1;
}

void hal_feed_watchdog(void)
{
}

void hal_sleep(void)
{
}

hal_lock_state hal_lock(void)
{
    return locked++;
}

void hal_unlock(hal_lock_state state)
{
    locked = state;
}

uint64_t hal_counts(void)
{
    return now;
}

uint32_t hal_counts_low(void)
{
    return (uint32_t)now;
}

void hal_set_tick(uint16_t interval_counts)
{
    assert(interval_counts > 0);
    interval = interval_counts;
}

void hal_sync_pulse(uint32_t at_counts, uint16_t width_counts)
{
    assert(!pulse_ahead);                              /* turns are kept apart */
    assert(at_counts - (uint32_t)now <= 4u * interval); /* and made ready a tick ahead */
    assert(width_counts == 1000 || width_counts == 2000);
    pulse_at = at_counts;
    pulse_ahead = true;
}

void hal_send_bytes(void)
{
}

void hal_write_dac(uint16_t frame)
{
    assert((frame & 0xE000u) == 0x2000u);
}

void hal_enable_stepper(bool enabled)
{
    (void)enabled;
}

void hal_set_direction(bool forward)
{
    (void)forward;
}

void hal_set_step(bool high)
{
    (void)high;
}

bool hal_home_input(void)
{
    return home_level;
}
