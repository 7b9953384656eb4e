// SPDX-License-Identifier: GPL-2.0

//! skeleton: a driver of a PCI card, which skeleton_model.py plays.
//!
//! The card adds up numbers: what is written to ADD is added to SUM.

use kernel::{
    device::Core,
    io::Io,
    pci,
    prelude::*, //
};

const ADD: usize = 0x00;
const SUM: usize = 0x04;
const SIZE: usize = 0x1000;

kernel::module_pci_driver! {
    type: Skeleton,
    name: "skeleton",
    authors: ["You"],
    description: "A driver of a PCI card that adds",
    license: "GPL",
}

kernel::pci_device_table!(
    PCI_TABLE,
    MODULE_PCI_TABLE,
    <Skeleton as pci::Driver>::IdInfo,
    [(pci::DeviceId::from_id(pci::Vendor::REDHAT, 0x5678), ())]
);

/// What the driver keeps for a card: dropped when the card, or the driver, goes.
struct Card<'bound> {
    registers: pci::Bar<'bound, SIZE>,
}

impl<'bound> Card<'bound> {
    fn new(card: &'bound pci::Device<Core<'_>>) -> Result<Self> {
        card.enable_device_mem()?;
        // The size is part of the type: an offset beyond it does not compile.
        let registers = card.iomap_region_sized::<SIZE>(0, c"skeleton")?;
        registers.write32(40, ADD);
        registers.write32(2, ADD);
        let sum = registers.read32(SUM);
        // All ones: there is no card behind the registers any more.
        if sum == u32::MAX {
            return Err(ENODEV);
        }
        dev_info!(card, "the sum is {}\n", sum);
        Ok(Card { registers })
    }
}

struct Skeleton;

impl pci::Driver for Skeleton {
    type IdInfo = ();
    type Data<'bound> = Card<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        card: &'bound pci::Device<Core<'_>>,
        _info: &'bound Self::IdInfo,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        Card::new(card)
    }

    fn unbind<'bound>(card: &'bound pci::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        dev_info!(card, "the sum was {}\n", this.registers.read32(SUM));
    }
}
