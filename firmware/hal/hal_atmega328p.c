/* ATmega328P at 16 MHz: Arduino Uno and Nano. The pins are drawn in README.md.
 *
 * Timer 1 counts at 2 MHz and never stops. Its channel A makes the sync pulse by toggling pin OC1A in hardware, so the
 * edges come on time whatever the processor is doing; channel B is the tick. A tick lets the serial line interrupt it,
 * whose hardware keeps no more than two bytes. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "hal.h"
#include "lens.h"
#include "serial.h"

#define BAUD_REGISTER 16 /* 16 MHz / 8 / (16 + 1) = 117647 baud */

#define SYNC_PIN _BV(PB1) /* OC1A */
#define DAC_SELECT_PIN _BV(PB2)
#define SPI_DATA_PIN _BV(PB3)
#define SPI_CLOCK_PIN _BV(PB5)
#define STEP_PIN _BV(PD2)
#define DIRECTION_PIN _BV(PD3)
#define STEPPER_OFF_PIN _BV(PD4)
#define HOME_PIN _BV(PD5)

#define LATE_COUNTS 100u

static uint8_t reset_cause __attribute__((section(".noinit")));
static volatile uint32_t overflows;
static volatile uint16_t tick_interval;
static uint16_t tick_at; /* OCR1B's next match */
static volatile bool in_tick, turn_due;
static uint16_t pulse_width;
static volatile enum { PULSE_NONE, PULSE_AHEAD, PULSE_HIGH } pulse;
static volatile uint16_t dac_frame, dac_next_frame;
static volatile enum { DAC_IDLE, DAC_HIGH_BYTE, DAC_LOW_BYTE } dac_state;
static volatile bool dac_has_next;

/* After a reset by the hardware watchdog it goes on running, with 15 ms: stop it before anything else. */
__attribute__((naked, used, section(".init3"))) static void stop_watchdog(void)
{
    reset_cause = MCUSR;
    MCUSR = 0;
    wdt_disable();
}

void hal_init(void)
{
    PORTB = DAC_SELECT_PIN;
    DDRB = SYNC_PIN | DAC_SELECT_PIN | SPI_DATA_PIN | SPI_CLOCK_PIN;
    PORTD = STEPPER_OFF_PIN | HOME_PIN;
    DDRD = STEP_PIN | DIRECTION_PIN | STEPPER_OFF_PIN;

    UCSR0A = _BV(U2X0);
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UBRR0 = BAUD_REGISTER;
    UCSR0B = _BV(RXEN0) | _BV(TXEN0) | _BV(RXCIE0);

    SPSR = _BV(SPI2X);
    SPCR = _BV(SPIE) | _BV(SPE) | _BV(MSTR);

    overflows = 0;
    TCCR1B = _BV(CS11); /* /8 */
    tick_interval = 1000;
    tick_at = tick_interval;
    OCR1B = tick_at - 1;
    TIMSK1 = _BV(OCIE1A) | _BV(OCIE1B) | _BV(TOIE1);

    set_sleep_mode(SLEEP_MODE_IDLE);
    wdt_enable(WDTO_250MS);
    /* interrupts stay off until the first hal_sleep, which comes after everything is ready */
}

uint8_t hal_reset_cause(void)
{
    return reset_cause & 0x0F;
}

void hal_feed_watchdog(void)
{
    wdt_reset();
}

void hal_sleep(void)
{
    cli();
    if (serial_waiting()) {
        sei();
        return;
    }
    sleep_enable();
    sei(); /* takes effect after the next instruction: nothing can slip in between */
    sleep_cpu();
    sleep_disable();
}

hal_lock_state hal_lock(void)
{
    hal_lock_state const state = SREG;
    cli();
    return state;
}

void hal_unlock(hal_lock_state state)
{
    __asm__ volatile("" ::: "memory");
    SREG = state;
}

uint64_t hal_counts(void)
{
    hal_lock_state const lock = hal_lock();
    uint16_t const low = TCNT1;
    uint32_t high = overflows;
    if (TIFR1 & _BV(TOV1) && low < 0x8000)
        high++;
    hal_unlock(lock);
    return (uint64_t)high << 16 | low;
}

uint32_t hal_counts_low(void)
{
    uint16_t const low = TCNT1;
    uint16_t high = (uint16_t)overflows;
    if (TIFR1 & _BV(TOV1) && low < 0x8000)
        high++;
    return (uint32_t)high << 16 | low;
}

ISR(TIMER1_OVF_vect)
{
    overflows++;
}

void hal_set_tick(uint16_t interval_counts)
{
    tick_interval = interval_counts;
}

/* A stepper's tick takes longer than a byte on the line, so that all may interrupt it; but the next tick and what is to
 * be done about a turn, which touch what it works on, wait for its end. */
ISR(TIMER1_COMPB_vect)
{
    if (in_tick)
        return;
    uint32_t const now = hal_counts_low();
    uint16_t behind = (uint16_t)((uint16_t)now - tick_at);
    if (behind & 0x8000)
        return; /* made up for already */
    uint32_t at = now - behind;
    in_tick = true;
    /* Where it takes longer than a tick, the next one is made up for, so that phase is never lost. */
    do {
        tick_at += tick_interval;
        OCR1B = tick_at - 1;
        sei();
        lens_on_tick(at, behind > LATE_COUNTS);
        cli();
        if (turn_due) {
            turn_due = false;
            lens_on_turn();
        }
        behind = (uint16_t)(TCNT1 - tick_at);
        at += tick_interval;
    } while (!(behind & 0x8000));
    in_tick = false;
}

void hal_sync_pulse(uint32_t at_counts, uint16_t width_counts)
{
    hal_lock_state const lock = hal_lock();
    pulse_width = width_counts;
    pulse = PULSE_AHEAD;
    TCCR1A = 0;
    OCR1A = (uint16_t)at_counts - 1;
    TCCR1A = _BV(COM1A1);
    TCCR1C = _BV(FOC1A); /* the toggling begins from low, whatever came before */
    TCCR1A = _BV(COM1A0);
    hal_unlock(lock);
}

/* Also comes at every wrap of the timer while there is no pulse; that is cheaper than sorting out stale flags. */
ISR(TIMER1_COMPA_vect)
{
    bool const not_yet = (uint16_t)(TCNT1 - OCR1A) & 0x8000;
    if (pulse == PULSE_NONE || not_yet)
        return;
    if (pulse == PULSE_HIGH) {
        TCCR1A = 0;
        pulse = PULSE_NONE;
        return;
    }
    pulse = PULSE_HIGH;
    OCR1A += pulse_width;
    if (in_tick)
        turn_due = true;
    else
        lens_on_turn();
}

ISR(USART_RX_vect)
{
    do {
        if (UCSR0A & _BV(DOR0))
            serial_on_overrun();
        serial_on_received(UDR0);
    } while (UCSR0A & _BV(RXC0));
}

void hal_send_bytes(void)
{
    UCSR0B |= _BV(UDRIE0);
}

ISR(USART_UDRE_vect)
{
    uint8_t byte;
    if (serial_on_ready(&byte))
        UDR0 = byte;
    else
        UCSR0B &= (uint8_t)~_BV(UDRIE0);
}

static void begin_dac_frame(uint16_t frame)
{
    dac_frame = frame;
    dac_state = DAC_HIGH_BYTE;
    PORTB &= (uint8_t)~DAC_SELECT_PIN;
    SPDR = (uint8_t)(frame >> 8);
}

void hal_write_dac(uint16_t frame)
{
    hal_lock_state const lock = hal_lock(); /* from what ends the frame before */
    if (dac_state == DAC_IDLE) {
        begin_dac_frame(frame);
    } else {
        dac_next_frame = frame;
        dac_has_next = true;
    }
    hal_unlock(lock);
}

ISR(SPI_STC_vect)
{
    if (dac_state == DAC_HIGH_BYTE) {
        dac_state = DAC_LOW_BYTE;
        SPDR = (uint8_t)dac_frame;
        return;
    }
    PORTB |= DAC_SELECT_PIN; /* the output changes here */
    dac_state = DAC_IDLE;
    if (dac_has_next) {
        dac_has_next = false;
        begin_dac_frame(dac_next_frame);
    }
}

void hal_enable_stepper(bool enabled)
{
    if (enabled)
        PORTD &= (uint8_t)~STEPPER_OFF_PIN;
    else
        PORTD |= STEPPER_OFF_PIN;
}

void hal_set_direction(bool forward)
{
    if (forward)
        PORTD |= DIRECTION_PIN;
    else
        PORTD &= (uint8_t)~DIRECTION_PIN;
}

void hal_set_step(bool high)
{
    if (high)
        PORTD |= STEP_PIN;
    else
        PORTD &= (uint8_t)~STEP_PIN;
}

bool hal_home_input(void)
{
    return PIND & HOME_PIN;
}
