// SPDX-License-Identifier: GPL-2.0
/*
 * skeleton: a driver of a USB device, which skeleton_model.py plays.
 *
 * A vendor request reads a counter of the device; a bulk endpoint takes text.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/usb.h>

#define SKELETON_COUNT	0x01	/* request: the counter, 4 bytes */

struct skeleton {
	struct usb_device *udev;
	unsigned int out;	/* pipe */
};

static ssize_t count_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct skeleton *sk = dev_get_drvdata(dev);
	__le32 value;
	int err;

	err = usb_control_msg_recv(sk->udev, 0, SKELETON_COUNT,
				   USB_DIR_IN | USB_TYPE_VENDOR |
				   USB_RECIP_DEVICE, 0, 0, &value,
				   sizeof(value), 1000, GFP_KERNEL);
	return err ? err : sysfs_emit(buf, "%u\n", le32_to_cpu(value));
}
static DEVICE_ATTR_RO(count);

static ssize_t send_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct skeleton *sk = dev_get_drvdata(dev);
	int err, sent;
	void *copy;

	/* What a host controller reads must not lie on the stack. */
	copy = kmemdup(buf, count, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	err = usb_bulk_msg(sk->udev, sk->out, copy, count, &sent, 1000);
	kfree(copy);
	return err ? err : sent;
}
static DEVICE_ATTR_WO(send);

static struct attribute *skeleton_attrs[] = {
	&dev_attr_count.attr,
	&dev_attr_send.attr,
	NULL,
};
ATTRIBUTE_GROUPS(skeleton);

static int skeleton_probe(struct usb_interface *intf,
			  const struct usb_device_id *id)
{
	struct usb_endpoint_descriptor *out;
	struct skeleton *sk;
	int err;

	err = usb_find_bulk_out_endpoint(intf->cur_altsetting, &out);
	if (err)
		return err;
	sk = devm_kzalloc(&intf->dev, sizeof(*sk), GFP_KERNEL);
	if (!sk)
		return -ENOMEM;
	sk->udev = interface_to_usbdev(intf);
	sk->out = usb_sndbulkpipe(sk->udev, usb_endpoint_num(out));
	usb_set_intfdata(intf, sk);
	dev_info(&intf->dev, "ready\n");
	return 0;
}

static void skeleton_disconnect(struct usb_interface *intf)
{
	dev_info(&intf->dev, "gone\n");
}

static const struct usb_device_id skeleton_ids[] = {
	{ USB_DEVICE(0x16c0, 0x05dc) },
	{ }
};
MODULE_DEVICE_TABLE(usb, skeleton_ids);

static struct usb_driver skeleton_driver = {
	.name = "skeleton",
	.id_table = skeleton_ids,
	.probe = skeleton_probe,
	.disconnect = skeleton_disconnect,
	.dev_groups = skeleton_groups,
};
module_usb_driver(skeleton_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A driver of a USB device");
