"""The USB device that skeleton.c drives, as Python plays it in a box."""

from kobox.devices.usb import Endpoint, Interface, UsbDevice


class Skeleton(UsbDevice):
    vendor_id, product_id = 0x16C0, 0x05DC
    product = "Skeleton"
    interfaces = (Interface(0xFF, endpoints=(Endpoint(0x02),)),)

    def __init__(self):
        self.text = b""

    def control_in(self, setup):
        if setup.request != 1:
            self.stall()
        return len(self.text).to_bytes(4, "little")

    def data_out(self, endpoint, data):
        self.text += data
