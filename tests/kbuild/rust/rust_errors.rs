// SPDX-License-Identifier: GPL-2.0

//! One deliberate error of each kind (`how`), and beside it the same without the error (`right=1`).
//!
//! Each error stands on a line that ends with `// BUG how`: tests look for it there.

use core::hint::black_box;
use kernel::{
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
};

module! {
    type: Errors,
    name: "rust_errors",
    authors: ["kobox"],
    description: "Deliberate errors",
    license: "GPL",
    params: {
        how: i64 { default: 0, description: "which error", },
        right: i64 { default: 0, description: "1: without the error", },
    },
}

struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<Self>;

    fn open(_file: &kernel::fs::File, _device: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Device, GFP_KERNEL)?)
    }
}

struct Errors {
    device: Option<Pin<KBox<MiscDeviceRegistration<Device>>>>,
    keep: bool,
}

#[inline(never)]
fn bounds(numbers: &[i64], right: bool) -> i64 {
    if right {
        return numbers.get(4).copied().unwrap_or(0);
    }
    numbers[black_box(4)] // BUG 1
}

#[inline(never)]
fn overflow(number: i64, right: bool) -> i64 {
    if right {
        return number.checked_mul(black_box(i64::MAX)).unwrap_or(0);
    }
    number * black_box(i64::MAX) // BUG 2
}

#[inline(never)]
fn null(right: bool) {
    let mut own = 0u32;
    let place = black_box(if right { &raw mut own } else { core::ptr::null_mut() });

    // SAFETY: none where it is NULL, and that is the point.
    unsafe { place.write_volatile(1) }; // BUG 3
}

#[inline(never)]
fn forget(right: bool) -> Result {
    let boxed = KBox::new([7u64; 8], GFP_KERNEL)?; // BUG 4

    if right {
        drop(boxed);
    } else {
        core::mem::forget(boxed);
    }
    Ok(())
}

#[inline(never)]
fn beyond(right: bool) -> Result {
    let mut boxed = KBox::new([0u64; 4], GFP_KERNEL)?;
    let place = (&raw mut *boxed).cast::<u64>();

    // SAFETY: none for the fifth of four, and that is the point.
    unsafe { place.add(black_box(if right { 3 } else { 4 })).write_volatile(7) }; // BUG 5
    Ok(())
}

#[inline(never)]
fn freed(right: bool) -> Result<u64> {
    let boxed = KBox::new([3u64; 4], GFP_KERNEL)?;
    let place = (&raw const *boxed).cast::<u64>();

    if right {
        // SAFETY: it is still there.
        return Ok(unsafe { place.read_volatile() });
    }
    drop(boxed);
    // SAFETY: none, and that is the point.
    Ok(unsafe { place.read_volatile() }) // BUG 6
}

#[inline(never)]
fn twice(right: bool) -> Result {
    let place = KBox::into_raw(KBox::new([1u64; 4], GFP_KERNEL)?);

    // SAFETY: it came from `into_raw`.
    drop(unsafe { KBox::from_raw(place) });
    if !right {
        // SAFETY: none, and that is the point.
        drop(unsafe { KBox::from_raw(black_box(place)) }); // BUG 7
    }
    Ok(())
}

#[inline(never)]
fn nothing(found: Option<u32>, right: bool) -> u32 {
    if right {
        return found.unwrap_or_default();
    }
    found.expect("nothing was found") // BUG 8
}

impl kernel::Module for Errors {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let right = *module_parameters::right.value() != 0;
        let mut device = None;
        let how = *module_parameters::how.value();
        match how {
            1 => pr_info!("{}\n", bounds(black_box(&[1, 2]), right)),
            2 => pr_info!("{}\n", overflow(black_box(3), right)),
            3 => null(right),
            4 => forget(right)?,
            5 => beyond(right)?,
            6 => pr_info!("{}\n", freed(right)?),
            7 => twice(right)?,
            8 => pr_info!("{}\n", nothing(black_box(None), right)),
            9 if !right => return Err(EINVAL), // BUG 9
            10 => {
                let options = MiscDeviceOptions { name: c"rust_errors" };

                device = Some(KBox::pin_init(MiscDeviceRegistration::register(options), GFP_KERNEL)?);
            }
            _ => {}
        }
        Ok(Errors { device, keep: how == 10 && !right })
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        let device = self.device.take();

        if self.keep {
            core::mem::forget(device); // BUG 10: its file stays in /dev
        }
    }
}
