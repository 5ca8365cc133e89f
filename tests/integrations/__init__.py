"""Tests of the bridges to other libraries, and of the examples that use them."""
