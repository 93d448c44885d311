/* The firmware's real binary in libsimavr, in lockstep: bytes go in at given cycles; bytes, edges and converter frames
 * come out with the cycle they happened at. Used by machine.py through ctypes. */
#include <simavr/avr_extint.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_spi.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_interrupts.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS 26
#define STACK_PAINT 0xA5
#define HOME_PIN (1 << 5)

enum signal { SIGNAL_SYNC, SIGNAL_STEP, SIGNAL_DIRECTION, SIGNAL_DAC, SIGNAL_TX, SIGNAL_COUNT };

struct event {
    uint64_t cycle;
    uint32_t value;
};

struct list {
    struct event *events;
    size_t count, capacity;
};

struct machine;

struct watched_vector {
    struct machine *machine;
    uint64_t raised;
    uint64_t longest_wait; /* cycles from its flag to its start */
};

struct machine {
    avr_t *avr;
    struct list signals[SIGNAL_COUNT];
    struct list to_receive;
    size_t received;
    bool last_level[SIGNAL_COUNT];
    bool dac_selected;
    uint32_t dac_frame;
    uint8_t dac_bytes;
    struct watched_vector vectors[VECTORS];
    avr_irq_t *rx, *home;
    int32_t motor;      /* where the mechanics are, in steps */
    int32_t home_below; /* the home switch closes below this; INT32_MIN: there is none */
    bool forward;
};

static void note(struct machine *machine, enum signal signal, uint32_t value)
{
    struct list *list = &machine->signals[signal];
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 1024;
        list->events = realloc(list->events, list->capacity * sizeof *list->events);
    }
    list->events[list->count++] = (struct event){machine->avr->cycle, value};
}

static void note_level(struct machine *machine, enum signal signal, uint32_t value)
{
    bool const level = value & 1;
    if (level == machine->last_level[signal])
        return;
    machine->last_level[signal] = level;
    note(machine, signal, level);
}

static void on_sync(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    note_level(param, SIGNAL_SYNC, value);
}

static void show_home_switch(struct machine *machine)
{
    bool const open = machine->motor >= machine->home_below; /* closed reads low */
    avr_ioport_external_t level = {.name = 'D', .mask = HOME_PIN, .value = open ? HOME_PIN : 0};
    avr_ioctl(machine->avr, AVR_IOCTL_IOPORT_SET_EXTERNAL('D'), &level); /* or writing the port pulls it up again */
    avr_raise_irq(machine->home, open);
}

static void on_step(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct machine *const machine = param;
    bool const rises = (value & 1) && !machine->last_level[SIGNAL_STEP];
    note_level(machine, SIGNAL_STEP, value);
    if (rises) {
        machine->motor += machine->forward ? 1 : -1;
        show_home_switch(machine);
    }
}

static void on_direction(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct machine *const machine = param;
    machine->forward = value & 1;
    note_level(machine, SIGNAL_DIRECTION, value);
}

static void on_dac_select(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct machine *const machine = param;
    bool const selected = !(value & 1);
    if (!selected && machine->dac_selected && machine->dac_bytes == 2)
        note(machine, SIGNAL_DAC, machine->dac_frame);
    if (selected != machine->dac_selected)
        machine->dac_bytes = 0;
    machine->dac_selected = selected;
}

static void on_spi(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct machine *const machine = param;
    machine->dac_frame = (machine->dac_frame << 8 | (value & 0xFF)) & 0xFFFF;
    machine->dac_bytes++;
}

static void on_tx(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    note(param, SIGNAL_TX, value & 0xFF);
}

static void on_pending(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct watched_vector *const watched = param;
    if (value)
        watched->raised = watched->machine->avr->cycle;
}

static void on_running(avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    struct watched_vector *const watched = param;
    uint64_t const wait = watched->machine->avr->cycle - watched->raised;
    if (value && wait > watched->longest_wait)
        watched->longest_wait = wait;
}

static avr_cycle_count_t deliver(avr_t *avr, avr_cycle_count_t when, void *param)
{
    (void)avr;
    (void)when;
    struct machine *const machine = param;
    struct list *const list = &machine->to_receive;
    avr_raise_irq(machine->rx, list->events[machine->received].value);
    machine->received++;
    return machine->received < list->count ? list->events[machine->received].cycle : 0;
}

static avr_cycle_count_t stop_here(avr_t *avr, avr_cycle_count_t when, void *param)
{
    (void)avr;
    (void)when;
    (void)param;
    return 0;
}

static void do_not_sleep(avr_t *avr, avr_cycle_count_t how_long)
{
    (void)avr;
    (void)how_long;
}

static void say_nothing(avr_t *avr, int level, char const *format, va_list arguments)
{
    (void)avr;
    (void)level;
    (void)format;
    (void)arguments;
}

static avr_irq_t *pin(struct machine *machine, char port, int number)
{
    return avr_io_getirq(machine->avr, AVR_IOCTL_IOPORT_GETIRQ(port), number);
}

struct machine *machine_open(char const *elf)
{
    elf_firmware_t firmware;
    memset(&firmware, 0, sizeof firmware);
    avr_global_logger_set(say_nothing);
    if (elf_read_firmware(elf, &firmware) != 0)
        return NULL;
    struct machine *const machine = calloc(1, sizeof *machine);
    avr_t *const avr = machine->avr = avr_make_mcu_by_name("atmega328p");
    avr_init(avr);
    avr->frequency = 16000000;
    avr_load_firmware(avr, &firmware);
    avr->frequency = 16000000;
    avr->sleep = do_not_sleep;
    avr->run_cycle_limit = 16000; /* or it comes back after every instruction */
    for (uint8_t input = 0; input < 2; input++) /* or it looks at these pins every second cycle */
        avr_extint_set_strict_lvl_trig(avr, input, 0);
    machine->home_below = INT32_MIN;

    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    machine->rx = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    machine->home = pin(machine, 'D', 5);
    show_home_switch(machine);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_tx, machine);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_SPI_GETIRQ(0), SPI_IRQ_OUTPUT), on_spi, machine);
    avr_irq_register_notify(pin(machine, 'B', 1), on_sync, machine);
    avr_irq_register_notify(pin(machine, 'B', 2), on_dac_select, machine);
    avr_irq_register_notify(pin(machine, 'D', 2), on_step, machine);
    avr_irq_register_notify(pin(machine, 'D', 3), on_direction, machine);
    for (uint8_t vector = 1; vector < VECTORS; vector++) {
        avr_irq_t *const irq = avr_get_interrupt_irq(avr, vector);
        machine->vectors[vector] = (struct watched_vector){machine, 0, 0};
        if (irq) {
            avr_irq_register_notify(irq + AVR_INT_IRQ_PENDING, on_pending, &machine->vectors[vector]);
            avr_irq_register_notify(irq + AVR_INT_IRQ_RUNNING, on_running, &machine->vectors[vector]);
        }
    }
    for (uint16_t address = 0x100; address <= avr->ramend; address++)
        avr->data[address] = STACK_PAINT;
    return machine;
}

void machine_close(struct machine *machine)
{
    for (int signal = 0; signal < SIGNAL_COUNT; signal++)
        free(machine->signals[signal].events);
    free(machine->to_receive.events);
    avr_terminate(machine->avr);
    free(machine->avr);
    free(machine);
}

/* Bytes arrive whole at these cycles, which ascend and lie in the future. */
void machine_receive(struct machine *machine, uint8_t const *bytes, uint64_t const *cycles, size_t count)
{
    struct list *const list = &machine->to_receive;
    bool const idle = machine->received == list->count;
    if (list->count + count > list->capacity) {
        list->capacity = 2 * (list->count + count);
        list->events = realloc(list->events, list->capacity * sizeof *list->events);
    }
    for (size_t i = 0; i < count; i++)
        list->events[list->count++] = (struct event){cycles[i], bytes[i]};
    if (idle && count > 0)
        avr_cycle_timer_register(machine->avr, cycles[0] - machine->avr->cycle, deliver, machine);
}

/* Returns false where the processor has stopped for good. */
bool machine_run(struct machine *machine, uint64_t until)
{
    avr_t *const avr = machine->avr;
    if (avr->cycle >= until)
        return true;
    avr_cycle_timer_register(avr, until - avr->cycle, stop_here, machine);
    while (avr->cycle < until) {
        int const state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed)
            return false;
    }
    return true;
}

uint64_t machine_cycle(struct machine const *machine)
{
    return machine->avr->cycle;
}

size_t machine_signal_count(struct machine const *machine, int signal)
{
    return machine->signals[signal].count;
}

void machine_signal_copy(struct machine const *machine, int signal, size_t first, uint64_t *cycles, uint32_t *values)
{
    struct list const *const list = &machine->signals[signal];
    for (size_t i = first; i < list->count; i++) {
        cycles[i - first] = list->events[i].cycle;
        values[i - first] = list->events[i].value;
    }
}

uint64_t machine_longest_wait(struct machine const *machine, uint8_t vector)
{
    return machine->vectors[vector].longest_wait;
}

uint8_t machine_data(struct machine const *machine, uint16_t address)
{
    return machine->avr->data[address];
}

/* Bytes of RAM between the variables and the deepest the stack has been. */
uint16_t machine_stack_left(struct machine const *machine, uint16_t first)
{
    uint16_t address = first;
    while (address <= machine->avr->ramend && machine->avr->data[address] == STACK_PAINT)
        address++;
    return (uint16_t)(address - first);
}

/* The mechanics of a stepper lens. */
void machine_put_motor(struct machine *machine, int32_t motor, int32_t home_below)
{
    machine->motor = motor;
    machine->home_below = home_below;
    show_home_switch(machine);
}

int32_t machine_motor(struct machine const *machine)
{
    return machine->motor;
}
