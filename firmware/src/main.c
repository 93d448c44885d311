#include "device.h"
#include "hal.h"

int main(void)
{
    hal_init();
    device_start();
    for (;;) {
        hal_feed_watchdog();
        device_poll();
        hal_sleep();
    }
}
