#!/usr/bin/env bash
# Run a Linux x86-64 program on an emulated CPU that has AVX-512.
#
#   avx512.sh BINARY [ARG...]
#
# The program runs in a tiny Linux guest inside Bochs, an x86 emulator that
# interprets EVEX code and so needs no AVX-512 (nor KVM) on the host. What the
# program prints (stdout and stderr together) is streamed to stdout, and its
# exit code is this script's. The script's own words go to stderr.
#
# Exit codes of its own: 124 the time limit passed, 125 the emulator could not be set up
# or the guest died without reporting the program's exit code.
#
# Settings (environment):
#   EMU_TIMEOUT  host seconds for one run, boot included         (default 1800)
#   EMU_CPU      Bochs CPU model                     (default corei7_skylake_x:
#                AVX-512 F, CD, BW, DQ, VL)
#   EMU_MEM      guest memory in MiB                             (default 1024)
#   EMU_VERBOSE  1: say how long the boot took, and show the guest's console
#   EMU_CACHE    where what is built is kept between calls
#                        (default ${XDG_CACHE_HOME:-$HOME/.cache}/logits-emulator)
#
# It needs a Debian of x86-64, and installs what is missing with apt-get.
# RUST_*, PROPTEST_* and LOGITS_* are handed over to the guest.
#
# With cargo: CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/tests/emulated/avx512.sh cargo test --lib
set -euo pipefail

CACHE=${EMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/logits-emulator}
TIMEOUT=${EMU_TIMEOUT:-1800}
CPU=${EMU_CPU:-corei7_skylake_x}
MEM=${EMU_MEM:-1024}
# Emulated instructions per guest second. Bochs waits in guest time, so a larger
# value makes the BIOS's and the kernel's delays cost more instructions, and a
# smaller one makes the 250 Hz timer tick cost more of them.
IPS=50000000
# Raise this when what the cache holds is built differently.
LAYOUT=2

say() { echo "avx512.sh: $*" >&2; }
die() { say "$*"; exit 125; }

[ $# -ge 1 ] || die "usage: avx512.sh BINARY [ARG...]"
[ "$(uname -m)" = x86_64 ] || die "needs an x86-64 host: the guest uses the host's shared libraries"
[ -f "$1" ] && [ -x "$1" ] || die "not an executable file: $1"
PROG=$(realpath "$1"); shift

# ---------------------------------------------------------------- tools and cache

SUDO=; [ "$(id -u)" = 0 ] || SUDO=sudo
UPDATED=
apt_update() { [ -n "$UPDATED" ] || $SUDO apt-get update -qq >&2; UPDATED=1; }
# Installs the named packages that are missing; a call that finds all of them
# there runs no apt at all.
need() {
  local p missing=()
  for p; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  apt_update
  $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Bochs from source. Debian's own build carries the debugger, plugins and
# SMP, which make it two to four times slower, opens a display, and in 2.7 has a
# wrong XSAVE size that hides AVX; so build 3.0 from Debian's source package. apt
# checks the tarball against the signed index; the lists are kept apart
# from the system's so that its sources stay as they are. Only the .orig tarball
# matters: Debian's patches are for the BIOS and for paths.
build_bochs() (
  # Callers test the exit code, which switches set -e off in here: hence each '|| exit 1'.
  local w=$CACHE/build v sum file
  rm -rf "$w"; mkdir -p "$w/lists/partial" && cd "$w" || exit 1
  # The mirror that this machine uses already.
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
  [ -n "$uri" ] || exit 1
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" >list
  local o=(-qq -o Dir::Etc::SourceList="$w/list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$w/lists"
           -o APT::Sandbox::User="$(id -un)" -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache=)
  apt-get "${o[@]}" update || exit 1
  # A mirror may lack another of the package's files, which apt-get calls an
  # error; what counts is that the tarball is there and is the listed one.
  apt-get "${o[@]}" source --download-only bochs || true
  apt-cache "${o[@]}" showsrc bochs | awk '/^Checksums-Sha256:/{s=1;next} /^[^ ]/{s=0} s&&$3~/\.orig\.tar\./{print $1"  "$3}' >sums
  [ -s sums ] && sha256sum -c --quiet sums || exit 1
  file=$(awk '{print $2;exit}' sums)
  mkdir src && tar xf "$file" -C src --strip-components=1 && cd src || exit 1
  # nogui: no display at all. No show-ips: its once-a-second signal handler
  # writes to the log file and now and then deadlocks in there.
  CFLAGS=-O3 CXXFLAGS=-O3 ./configure --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex \
    --enable-memtype --enable-pci --enable-all-optimizations --with-nogui --without-x --disable-plugins \
    --disable-show-ips --disable-readline --disable-docbook --disable-gameport --disable-stats || exit 1
  make -j"$(nproc)" bochs || exit 1
  strip -o "$CACHE/bochs.new" bochs && mv "$CACHE/bochs.new" "$CACHE/bochs" || exit 1
  cd "$CACHE"; rm -rf "$w"
)

# Everything that doesn't depend on the program: emulator, kernel, the base of
# the initramfs and the boot loader.
build_cache() {
  local t=$CACHE/tmp deb
  rm -rf "$t"; mkdir -p "$t"

  # bochsbios and vgabios hold the ROM images, whichever Bochs runs them.
  need bochsbios vgabios busybox-static grub-common grub-pc-bin xorriso cpio binutils
  if [ ! -x "$CACHE/bochs" ]; then
    need g++ make xz-utils
    apt_update
    say "building Bochs (a few minutes, once; log: $CACHE/build.log)"
    if ! build_bochs >"$CACHE/build.log" 2>&1; then
      tail -3 "$CACHE/build.log" >&2
      die "Bochs could not be built"
    fi
  fi

  # The kernel comes out of its package without being installed: installing it
  # would touch /boot and run hooks. The cloud flavour is smaller, is LZ4-packed (quick
  # to unpack), and has the serial console built in, so it needs no modules.
  if [ ! -f "$CACHE/vmlinuz" ]; then
    apt_update
    deb=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/{print $2; exit}')
    [ -n "$deb" ] || die "no linux-image-cloud-amd64 package"
    say "fetching $deb"
    (cd "$t" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$deb" && dpkg -x ./"$deb"_*.deb kernel) >&2
    mv "$t"/kernel/boot/vmlinuz-* "$CACHE/vmlinuz"
  fi

  # Base initramfs: busybox and /init. Not compressed: unpacking is slow in
  # the emulator, reading from the emulated CD is not.
  mkdir -p "$t"/base/{bin,dev,proc,sys,tmp,root,etc}
  cp "$(command -v busybox)" "$t/base/bin/busybox"
  ln -s busybox "$t/base/bin/sh"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$t/base/etc/passwd"
  cat >"$t/base/init" <<'INIT'
#!/bin/sh
set -o pipefail
export PATH=/bin
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
$bb mkdir /dev/shm && $bb mount -t tmpfs shm /dev/shm
$bb ln -s /proc/self/fd /dev/fd
$bb ifconfig lo 127.0.0.1 2>/dev/null
# ttyS1 carries the program's output and nothing else, byte for byte (raw: no \n -> \r\n).
$bb stty -F /dev/ttyS1 raw -echo 115200
. /emu/run
echo "EMU-UP $NONCE" >/dev/ttyS0
# AVX-512 state must be on in XCR0, else the program would see no AVX-512 and
# its tests would pass by skipping; the kernel lists the flag only then.
if ! $bb grep -qm1 ' avx512f ' /proc/cpuinfo; then
  echo "EMU-NOAVX512 $NONCE" >/dev/ttyS0
fi
# Through a pipe, since a program may act otherwise on a terminal.
run_it </dev/null 2>&1 | $bb cat >/dev/ttyS1
rc=$?
# What the kernel said about a crash (signal, invalid opcode, out of memory).
if [ $rc -ge 128 ]; then
  $bb dmesg | $bb grep -iE 'segfault|traps:|out of memory|oom|general protection' | $bb tail -5 >/dev/ttyS0
fi
echo "EMU-EXIT $NONCE $rc" >/dev/ttyS0
$bb poweroff -f
INIT
  chmod +x "$t/base/init"
  (cd "$t/base" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$CACHE/base.cpio"

  # The boot loader, with its commands inside: GRUB can load several initramfs
  # images, so the program's one needs no rebuilding of the base.
  #  quiet loglevel=1      a serial line is slow; emergencies only
  #  panic=-1 reboot=t     a dead kernel triple-faults, which ends Bochs at once
  #  tsc_early_khz         the CPU model's CPUID claims 3.5 GHz; the truth is IPS
  #  mitigations=off, init_on_alloc=0, nokaslr, cryptomgr.notests,
  #  initcall_blacklist    work that a test box can do without; the first named
  #                        initcall alone is about a tenth of the boot
  cat >"$t/grub.cfg" <<GRUB
linux /vmlinuz console=ttyS0,115200 quiet loglevel=1 panic=-1 reboot=t nokaslr mitigations=off init_on_alloc=0 tsc_early_khz=$((IPS / 1000)) tsc=reliable no_timer_check cryptomgr.notests initcall_blacklist=trace_eval_init,load_system_certificate_list rdinit=/init
initrd /base.cpio /payload.cpio
boot
GRUB
  cp "$t/grub.cfg" "$CACHE/grub.cfg"
  rm -rf "$t"
  echo "$LAYOUT" >"$CACHE/ready"
}

mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9 # two first calls at once must not both build
if [ "$(cat "$CACHE/ready" 2>/dev/null)" != "$LAYOUT" ]; then
  build_cache
fi
need bochsbios vgabios grub-common grub-pc-bin xorriso cpio
flock -u 9

# ---------------------------------------------------------------- this run's disc

RUN=$(mktemp -d "$CACHE/run.XXXXXX")
EMU_PID= TAIL_PID=
cleanup() {
  [ -z "$EMU_PID" ] || kill "$EMU_PID" 2>/dev/null || true
  [ -z "$TAIL_PID" ] || kill "$TAIL_PID" 2>/dev/null || true
  rm -rf "$RUN"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The program, and every shared library it names, at the host's paths.
R=$RUN/root
mkdir -p "$R/emu" "$R$(dirname "$PROG")" "$R$PWD"
cp "$PROG" "$R$PROG"
strip --strip-debug "$R$PROG" 2>/dev/null || true # large files load slowly
{ ldd "$PROG" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r lib; do
  mkdir -p "$R$(dirname "$lib")"; cp -L "$lib" "$R$lib"
done

# What /init sources: environment, folder, command. %q quotes for a shell.
# The nonce keeps the program from being able to fake its own verdict by chance.
NONCE=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
{
  echo "NONCE=$NONCE"
  echo "run_it() {"
  echo "export HOME=/root"
  for v in $(compgen -e) ; do
    case $v in
      RUST_*|PROPTEST_*|LOGITS_*) ;;
      *) continue ;;
    esac
    printf 'export %s=%q\n' "$v" "${!v}"
  done
  printf 'cd %q\n' "$PWD"
  printf '%q ' "$PROG" "$@"
  echo; echo "}"
} >"$R/emu/run"

mkdir "$RUN/iso"
(cd "$R" && find . | cpio -o -H newc -R 0:0 --quiet) >"$RUN/iso/payload.cpio"
rm -rf "$R"
ln "$CACHE/vmlinuz" "$CACHE/base.cpio" "$RUN/iso/"
cp "$CACHE/grub.cfg" "$RUN/grub.cfg"
grub-mkimage -O i386-pc-eltorito -p / -c "$RUN/grub.cfg" -o "$RUN/iso/grub.img" biosdisk iso9660 linux
xorriso -as mkisofs -quiet -o "$RUN/cd.iso" -b grub.img -no-emul-boot -boot-load-size 4 -boot-info-table -J -R "$RUN/iso" 2>"$RUN/xorriso.log" \
  || { cat "$RUN/xorriso.log" >&2; die "could not make the boot disc"; }
rm -rf "$RUN/iso"

# ---------------------------------------------------------------- run

# sync=none: guest time is instruction count, and a halted CPU skips ahead.
# action=ignore: the kernel reads MSRs that Bochs doesn't know at each tick.
# COM1 is the console, COM2 the program's output.
cat >"$RUN/bochsrc" <<RC
config_interface: textconfig
display_library: nogui
cpu: model=$CPU, count=1, ips=$IPS, reset_on_triple_fault=0
memory: guest=$MEM, host=$MEM
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$RUN/cd.iso", status=inserted
boot: cdrom
clock: sync=none
com1: enabled=1, mode=file, dev="$RUN/console"
com2: enabled=1, mode=file, dev="$RUN/output"
log: $RUN/log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
RC
: >"$RUN/console"; : >"$RUN/output"

START=$(date +%s.%N)
timeout -k 5 "$TIMEOUT" "$CACHE/bochs" -q -f "$RUN/bochsrc" </dev/null >"$RUN/screen" 2>&1 9>&- &
EMU_PID=$!
tail -q -n +1 -s 0.2 -f --pid="$EMU_PID" "$RUN/output" 2>/dev/null 9>&- &
TAIL_PID=$!
if [ "${EMU_VERBOSE:-0}" != 0 ]; then
  while kill -0 "$EMU_PID" 2>/dev/null; do
    if grep -q "^EMU-UP $NONCE" "$RUN/console"; then
      say "booted in $(date "+%s.%N $START" | awk '{printf "%.1f", $1 - $2}') s"; break
    fi
    sleep 0.2
  done
fi
STATUS=0; wait "$EMU_PID" || STATUS=$?
EMU_PID=
wait "$TAIL_PID" || true
TAIL_PID=
[ "${EMU_VERBOSE:-0}" = 0 ] || sed 's/^/  console: /' "$RUN/console" >&2

RC=$(tr -d '\r' <"$RUN/console" | sed -n "s/^EMU-EXIT $NONCE \([0-9][0-9]*\)$/\1/p" | tail -1)
if grep -q "^EMU-NOAVX512 $NONCE" "$RUN/console"; then
  [ "${EMU_VERBOSE:-0}" != 0 ] || cat "$RUN/console" >&2
  die "the guest has no AVX-512: a run there would prove nothing (CPU model $CPU)"
fi
if [ -n "$RC" ]; then
  [ "$RC" -lt 128 ] || grep -aE 'segfault|traps:|emory|protection' "$RUN/console" >&2 || true
  exit "$RC"
fi
tail -n 20 "$RUN/console" >&2
if [ $STATUS = 124 ] || [ $STATUS = 137 ]; then
  say "no result within $TIMEOUT s"; exit 124
fi
tail -n 5 "$RUN/screen" "$RUN/log" >&2 || true
die "the guest ended without reporting an exit code"
