// SPDX-License-Identifier: GPL-2.0
/* A USB driver that handles errors of the bus rightly, or, with `careless`, makes one mistake when a transfer fails. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/usb.h>

#define IDENTIFY 0x11
#define START 0x12

static char *careless = "";
module_param(careless, charp, 0444);

struct gadget {
	struct usb_device *device;
	u8 *buffer;
};

/* The answer to a question that goes out by bulk: its first byte says which one it is for. */
static int ask(struct gadget *gadget, int in, int out)
{
	int error, got = 0;

	gadget->buffer[0] = 7;
	error = usb_bulk_msg(gadget->device, usb_sndbulkpipe(gadget->device, out), gadget->buffer, 1, NULL, 500);
	if (error)
		return error;
	error = usb_bulk_msg(gadget->device, usb_rcvbulkpipe(gadget->device, in), gadget->buffer, 16, &got, 500);
	if (error && !strcmp(careless, "timeout")) {
		kfree(gadget->buffer); /* and the caller frees it again */
		return error;
	}
	return error ? error : got && gadget->buffer[0] == 7 ? 0 : -EPROTO;
}

static int gadget_probe(struct usb_interface *interface, const struct usb_device_id *id)
{
	struct usb_endpoint_descriptor *in, *out;
	struct gadget *gadget;
	int error = usb_find_common_endpoints(interface->cur_altsetting, &in, &out, NULL, NULL);

	if (error)
		return error;
	gadget = kzalloc(sizeof(*gadget), GFP_KERNEL);
	if (!gadget)
		return -ENOMEM;
	error = -ENOMEM;
	gadget->device = usb_get_dev(interface_to_usbdev(interface));
	gadget->buffer = kmalloc(16, GFP_KERNEL);
	if (!gadget->buffer)
		goto free_gadget;
	error = usb_control_msg(gadget->device, usb_rcvctrlpipe(gadget->device, 0), IDENTIFY,
				USB_DIR_IN | USB_TYPE_VENDOR | USB_RECIP_DEVICE, 0, 0, gadget->buffer, 2, 500);
	if (error < 0 && !strcmp(careless, "stall"))
		goto free_gadget; /* the buffer is forgotten */
	if (error != 2 || gadget->buffer[0] != 'K' || gadget->buffer[1] != 'X') {
		error = error < 0 ? error : -ENODEV;
		goto free_buffer;
	}
	error = ask(gadget, in->bEndpointAddress, out->bEndpointAddress);
	if (error)
		goto free_buffer;
	usb_set_intfdata(interface, gadget);
	return 0;

free_buffer:
	kfree(gadget->buffer);
free_gadget:
	usb_put_dev(gadget->device);
	kfree(gadget);
	return error;
}

static void gadget_disconnect(struct usb_interface *interface)
{
	struct gadget *gadget = usb_get_intfdata(interface);

	usb_put_dev(gadget->device);
	kfree(gadget->buffer);
	kfree(gadget);
}

static const struct usb_device_id ids[] = { { USB_DEVICE(0x1234, 0x1201) }, {} };
MODULE_DEVICE_TABLE(usb, ids);

static struct usb_driver gadget_driver = {
	.name = "usbstall",
	.probe = gadget_probe,
	.disconnect = gadget_disconnect,
	.id_table = ids,
};
module_usb_driver(gadget_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a USB driver and its handling of errors");
