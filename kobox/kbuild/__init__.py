"""A module's way from source to a signed file: new, build, sign and verify as a person does them."""
