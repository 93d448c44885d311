#!/bin/sh
# What the firmware's tests need: a compiler for the microcontroller and its simulator. Installed where apt and the right
# to use it are there; otherwise said once, and the tests that need them skip.
packages="gcc libc6-dev make gcc-avr avr-libc libsimavr-dev libelf-dev"

have_all() {
    command -v gcc >/dev/null && command -v avr-gcc >/dev/null && command -v make >/dev/null &&
        echo 'int main(void) { return 0; }' | gcc -x c - -o /dev/null -lsimavr 2>/dev/null
}

have_all && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing the firmware's tools ($packages) ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null 2>&1
    # shellcheck disable=SC2086  # one word a package
    apt-get install -qq -y --no-install-recommends $packages >/dev/null 2>&1
fi
have_all || echo "The firmware's tests will skip; they need: apt-get install $packages"
exit 0
