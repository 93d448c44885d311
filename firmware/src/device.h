/* The main loop, but for its loop. */
#ifndef DEVICE_H
#define DEVICE_H

void device_start(void); /* after hal_init */
void device_poll(void);  /* do all that there is to do */

#endif
