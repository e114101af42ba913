#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The packaging agrees with the tree: versions, packages to build with, and the files that CMake
# installs, each of which belongs to one package. The configuration file that is installed has every
# option, as a comment, and is valid. The scripts of the packages are valid, debhelper knows every
# step, and AppArmor's parser takes the profile, which is in complain mode.
. "$(dirname "$0")/../lib/functions.sh"
debian=$SOURCE_DIR/deploy/debian

version=$(dpkg-parsechangelog --file "$debian/changelog" --show-field Version)
grep -qF "project(snapgroupd VERSION ${version%-*} " "$SOURCE_DIR/CMakeLists.txt" ||
    fail "deploy/debian/changelog is of version $version, CMakeLists.txt is not"

for package in $(sed -n '/^Build-Depends:/,/^[A-Z]/{s/^Build-Depends://; /^[A-Z]/d; s/[(<].*//; s/,//; p}' "$debian/control"); do
    case $package in
    debhelper-compat | dh-sequence-*) package=debhelper ;;
    esac
    sed -n '/^build=/,/)$/p; /^packaging=/,/)$/p' "$SOURCE_DIR/deploy/install-packages.sh" | grep -qw -- "$package" ||
        fail "deploy/install-packages.sh does not install $package for build-deb.sh"
done

# gcc and libc6-dev are there wherever packages are built.
for package in $(sed -n '/^build=/,/)$/{s/^build=(//; s/)$//; p}' "$SOURCE_DIR/deploy/install-packages.sh"); do
    [[ "$package" = gcc || "$package" = libc6-dev ]] || grep -qE "[ ,]$package( |,|$)" "$debian/control" ||
        fail "deploy/debian/control lacks $package, with which snapgroupd is built"
done

# What unit tests call by a shell must be there while the package is built: some hang without it.
for program in $(grep -rhoE '(shell[a-z_]*|popen)\("[a-z0-9-]+' "$SOURCE_DIR"/tests/unit "$SOURCE_DIR"/tests/lib/*.c | sed 's/.*"//' | sort -u); do
    path=$(type -P "$program") || continue
    package=$(dpkg -S "$path" "${path#/usr}" 2>/dev/null | head -1) || true # of the two paths dpkg knows one
    package=${package%%:*}
    [ -z "$package" ] || [ "$(dpkg-query -W -f '${Essential}' "$package")" = yes ] || grep -qE "[ ,]$package( |,|$)" "$debian/control" ||
        fail "deploy/debian/control lacks $package: unit tests call $program"
done

# What is installed, and by which package: each line of *.install is a path, or a directory.
cmake -S "$SOURCE_DIR" -B "$TMP/build" -G Ninja --log-level=WARNING -DSNAPGROUPD_TESTS=OFF -DCMAKE_INSTALL_PREFIX=/usr \
    -DCMAKE_INSTALL_SYSCONFDIR=/etc -DSNAPGROUPD_UNIT_DIR=/lib/systemd/system >/dev/null
grep -q '^ExecStart=/usr/bin/snapgroupd$' "$TMP/build/installed/snapgroupd.service" || fail 'the unit starts something else'
cmake -S "$SOURCE_DIR" -B "$TMP/build" -DCMAKE_INSTALL_PREFIX=/opt/snapgroupd >/dev/null
grep -q '^ExecStart=/opt/snapgroupd/bin/snapgroupd$' "$TMP/build/installed/snapgroupd.service" ||
    fail 'under another prefix the unit starts something else'
cmake -S "$SOURCE_DIR" -B "$TMP/build" -DCMAKE_INSTALL_PREFIX=/usr >/dev/null
# Built already: the files are linked to where this configuration would have them.
sed -n 's/.* FILES "\(.*\)")$/\1/p; s/.*TYPE EXECUTABLE FILES "\(.*\)"$/\1/p' "$TMP/build/cmake_install.cmake" |
    tr ';' '\n' | sed 's/" *"/\n/g' | sort -u >"$TMP/built"
while read -r file; do
    [ -e "$file" ] || { mkdir -p "$(dirname "$file")" && cp "$BUILD_DIR${file#"$TMP/build"}" "$file"; }
done <"$TMP/built"
DESTDIR=$TMP/root cmake --install "$TMP/build" >/dev/null
for file in etc/apparmor.d/usr.bin.snapgroupd etc/needrestart/conf.d/snapgroupd.conf usr/libexec/snapgroupd/restart-unless-used; do
    mkdir -p "$TMP/root/${file%/*}" && : >"$TMP/root/$file" # of debian/rules
done
cat "$debian"/*.install | sort >"$TMP/listed"
[ -z "$(uniq -d "$TMP/listed")" ] || fail "two packages install: $(uniq -d "$TMP/listed")"
while read -r path; do
    [ -e "$TMP/root/$path" ] || fail "nothing installs $path, which a package has"
    rm -r "${TMP:?}/root/$path"
done <"$TMP/listed"
[ -z "$(find "$TMP/root" -type f)" ] || fail "no *.install in deploy/debian names $(find "$TMP/root" -type f -printf '%P ')"

conf=$BUILD_DIR/installed/snapgroupd.conf
while read -r option; do
    grep -q "^#$option = ." "$conf" || fail "snapgroupd.conf lacks $option"
done < <("$SNAPGROUPD" --help | sed -n 's/^  --\([a-z-]*\).*/\1/p' | grep -vE '^(config|check-config|help|version)$')
! grep -vE '^(#.*|\[snapgroupd\])?$' "$conf" || fail 'snapgroupd.conf sets something'
defaults=$(sed -n '/ = .*\(DIR\|GROUP\|NAME\|FILE\)/d; s/^#\([a-z-]* = \)/\1/p' "$conf")
printf '[snapgroupd]\n%s\nstate-dir = %s\nimage-dir = %s\nruntime-dir = %s\n' "$(sed '/-dir = /d' <<<"$defaults")" \
    "$STATE" "$IMAGES" "$RUNTIME" >"$TMP/defaults.conf"
"$SNAPGROUPD" --config "$conf" --state-dir "$STATE" --image-dir "$IMAGES" --runtime-dir "$RUNTIME" --check-config
"$SNAPGROUPD" --config "$TMP/defaults.conf" --check-config

for script in "$debian"/*.{preinst,postinst,prerm,postrm}; do
    [ ! -e "$script" ] || sh -n "$script" || fail "$script"
done
perl -c "$debian/restart-unless-used" 2>"$TMP/perl" || fail "$(cat "$TMP/perl")"
perl -c "$debian/needrestart.conf" 2>"$TMP/perl" || fail "$(cat "$TMP/perl")"
mkdir "$TMP/source"
cp -r "$debian" "$TMP/source/debian"
(cd "$TMP/source" && debian/rules --dry-run binary && dh binary --no-act --buildsystem=cmake+ninja) >"$TMP/dh" 2>&1 ||
    fail "$(cat "$TMP/dh")"
grep -q dh_installsysusers "$TMP/dh" || fail 'the user is not created'

profile=$SOURCE_DIR/deploy/apparmor/usr.bin.snapgroupd
apparmor_parser --skip-kernel-load --skip-cache "$profile" 2>"$TMP/apparmor" || fail "$(cat "$TMP/apparmor")"
grep -q '^profile .*flags=(complain) {$' "$profile" || fail 'the profile is not in complain mode'
sed 's/ r,$/ unheard-of,/' "$profile" >"$TMP/profile"
! apparmor_parser --skip-kernel-load --skip-cache "$TMP/profile" >/dev/null 2>&1 || fail 'the parser takes everything'
