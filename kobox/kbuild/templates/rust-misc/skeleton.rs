// SPDX-License-Identifier: GPL-2.0

//! skeleton: /dev/skeleton keeps what is written to it, for each that opens it apart.
//!
//! ioctl(SKELETON_SIZE) says how much that is, ioctl(SKELETON_CLEAR) throws it away.

use kernel::{
    fs::{File, Kiocb},
    ioctl::_IO,
    iov::{IovIterDest, IovIterSource},
    miscdevice::{MiscDevice, MiscDeviceOptions, MiscDeviceRegistration},
    new_mutex,
    prelude::*,
    sync::Mutex,
};

const SKELETON_SIZE: u32 = _IO('s' as u32, 0);
const SKELETON_CLEAR: u32 = _IO('s' as u32, 1);
const MOST: usize = 4096;

module! {
    type: Skeleton,
    name: "skeleton",
    authors: ["You"],
    description: "A misc device",
    license: "GPL",
}

/// The module while it is loaded: dropping it takes the device away.
#[pin_data]
struct Skeleton {
    #[pin]
    _device: MiscDeviceRegistration<Opened>,
}

impl kernel::InPlaceModule for Skeleton {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"skeleton" }),
        })
    }
}

/// One that has the device open. Several threads may use one descriptor: hence the mutex.
#[pin_data]
struct Opened {
    #[pin]
    text: Mutex<KVVec<u8>>,
}

#[vtable]
impl MiscDevice for Opened {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                text <- new_mutex!(KVVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, to: &mut IovIterDest<'_>) -> Result<usize> {
        let opened = kiocb.file();
        let text = opened.text.lock();

        to.simple_read_from_buffer(kiocb.ki_pos_mut(), &text)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, from: &mut IovIterSource<'_>) -> Result<usize> {
        let opened = kiocb.file();
        let mut text = opened.text.lock();

        if from.len() > MOST - text.len() {
            return Err(ENOSPC);
        }
        from.copy_from_iter_vec(&mut text, GFP_KERNEL)
    }

    fn ioctl(opened: Pin<&Self>, _file: &File, command: u32, _argument: usize) -> Result<isize> {
        let mut text = opened.text.lock();

        match command {
            SKELETON_SIZE => Ok(text.len() as isize),
            SKELETON_CLEAR => {
                text.clear();
                Ok(0)
            }
            _ => Err(ENOTTY),
        }
    }
}
