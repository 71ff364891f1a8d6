"""Machines as trees of files: what /proc, /sys, /dev, /etc and /boot of a Raspberry Pi hold, as far as it is looked at."""

from __future__ import annotations

from pathlib import Path

ZERO_2_W = {
    "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
    "proc/meminfo": "MemTotal:         437072 kB\nMemFree:           41008 kB\nMemAvailable:     259816 kB\nBuffers:           18052 kB\n",
    "proc/uptime": "5123.47 19876.11\n",
    "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n/dev/mmcblk0p1 /boot/firmware vfat rw,relatime 0 0\n",
    "proc/cmdline": "coherent_pool=1M console=tty1 root=PARTUUID=1-02 rootwait cgroup_disable=memory cgroup_enable=memory\n",
    "proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/kernel/debug/gpio": (
        "gpiochip0: GPIOs 512-565, parent: platform/3f200000.gpio, pinctrl-bcm2835:\n"
        " gpio-519 (SPI_CE1_N           |spi0 CS1            ) out hi ACTIVE LOW\n"
        " gpio-520 (SPI_CE0_N           |spi0 CS0            ) out hi ACTIVE LOW\n"
        " gpio-537 (GPIO25              )\n"
    ),
    "dev/spidev0.0": "",
    "dev/spidev0.1": "",
    "dev/gpiochip0": "",
    "dev/shm/.keep": "",
    "dev/kmsg": "6,1,0,-;Booting Linux on physical CPU 0x0\n6,2,9,-;mmc0: new high speed SDHC card at address aaaa\n",
    "etc/group": "root:x:0:\nvideo:x:44:maria\nspi:x:993:maria,pixelog\ngpio:x:992:maria,pixelog\n",
    "boot/firmware/config.txt": "# For more options see the documentation\ndtparam=spi=on\ndtoverlay=vc4-kms-v3d\n",
    "run/systemd/timesync/synchronized": "",
}
"""A healthy Pi Zero 2 W under 64-bit Raspberry Pi OS with SPI switched on."""


def build(root: Path, *, without: tuple[str, ...] = (), **changed: str) -> Path:
    """The Zero 2 W below `root`, without some files, and with other texts: a file's name has `__` for `/`, `_dot_` for `.`."""
    files = {name: text for name, text in ZERO_2_W.items() if not name.startswith(without)} if without else dict(ZERO_2_W)
    for name, text in changed.items():
        files[name.replace("__", "/").replace("_dot_", ".")] = text
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
